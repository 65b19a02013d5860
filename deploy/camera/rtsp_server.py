#!/usr/bin/python3
"""A camera that is not there: loops a clip over RTSP for ever.

The clip is encoded, or copied, into memory once; then its access units go out at their own pace,
with time stamps that go on rising over the seam. Run by the system's Python, where GStreamer's
bindings are: python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good,bad}, and for
anything but `--codec copy` gstreamer1.0-plugins-ugly and gstreamer1.0-libav.

    rtsp_server.py --file yard.mp4 --codec copy --port 8554 --path /yard
"""

import argparse
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstPbutils", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstPbutils, GstRtsp, GstRtspServer  # noqa: E402

BYTE_STREAM = "stream-format=byte-stream,alignment=au"


@dataclass(frozen=True)
class Codec:
    """GStreamer's words for a codec: its encoder, its parser, its RTP payloader."""

    encode: str
    parse: str
    pay: str


CODECS = {
    "video/x-h264": Codec(
        "x264enc bframes=0 speed-preset=veryfast bitrate={kbps} key-int-max={gop}"
        " option-string=scenecut=0:open-gop=0:min-keyint={gop}",
        # Not by the payloader: it puts parameter sets before every slice, which cuts pictures up.
        f"h264parse config-interval=-1 ! video/x-h264,{BYTE_STREAM}",
        "rtph264pay",
    ),
    "video/x-h265": Codec(
        "x265enc tune=zerolatency speed-preset=ultrafast bitrate={kbps} key-int-max={gop}"
        " option-string=scenecut=0:open-gop=0:min-keyint={gop}:log-level=none",
        f"h265parse ! video/x-h265,{BYTE_STREAM}",
        "rtph265pay config-interval=-1",
    ),
    "image/jpeg": Codec(
        # JPEG has the full range; jpegenc does not see to it, nor does videoconvert in one step.
        "videoconvert ! video/x-raw,format=RGB ! videoconvert"
        " ! video/x-raw,format=I420,colorimetry=1:4:0:0 ! jpegenc quality=80",
        "jpegparse ! image/jpeg,parsed=true",
        "rtpjpegpay",
    ),
    "video/mpeg": Codec(
        "",  # to be copied alone: Debian's avenc_mpeg4 gives nothing with the libav that it has
        "mpeg4videoparse ! video/mpeg,mpegversion=4,parsed=true",
        "rtpmp4vpay config-interval=1",
    ),
    "video/x-vp8": Codec(
        "vp8enc deadline=1 cpu-used=8 target-bitrate={kbps}000 keyframe-max-dist={gop}",
        "capsfilter caps=video/x-vp8",
        "rtpvp8pay",
    ),
    "video/x-vp9": Codec(
        "vp9enc deadline=1 cpu-used=8 target-bitrate={kbps}000 keyframe-max-dist={gop}",
        "vp9parse ! video/x-vp9,alignment=frame",
        "rtpvp9pay",
    ),
}
NAMES = {
    "h264": "video/x-h264",
    "h265": "video/x-h265",
    "mjpeg": "image/jpeg",
    "vp8": "video/x-vp8",
    "vp9": "video/x-vp9",
}
AUDIO_ONLY = "( audiotestsrc is-live=true wave=silence ! alawenc ! rtppcmapay name=pay0 )"


@dataclass(frozen=True)
class AccessUnit:
    """One coded picture; times in nanoseconds from the start of the clip."""

    data: bytes
    pts_ns: int
    dts_ns: int
    is_key: bool


@dataclass(frozen=True)
class Clip:
    """A clip in memory, ready to be sent over and over."""

    units: list[AccessUnit]
    duration_ns: int
    caps: Gst.Caps
    pay: str


def read_clip(args: argparse.Namespace) -> Clip:
    """Encode, or copy, the file once.

    Raises:
        RuntimeError: GStreamer cannot read or encode it; the message is GStreamer's.
    """
    if args.codec == "copy":
        media_type = _media_type(args.file)
        middle = "parsebin"
    else:
        media_type = NAMES[args.codec]
        size = f",width={args.width},height={args.height}" if args.width else ""
        gop = max(1, round(args.gop_s * args.fps))
        middle = (
            "decodebin ! videorate ! videoscale ! videoconvert"
            f" ! video/x-raw,format=I420,pixel-aspect-ratio=1/1,framerate={args.fps}/1{size}"
            f" ! {CODECS[media_type].encode.format(kbps=args.kbps, gop=gop)}"
        )
    codec = CODECS[media_type]
    pipeline = Gst.parse_launch(
        f"filesrc name=file ! {middle} ! {codec.parse} ! appsink name=sink sync=false"
    )
    pipeline.get_by_name("file").set_property("location", args.file)
    pipeline.set_state(Gst.State.PLAYING)
    try:
        return _pull(pipeline, codec.pay, max_s=args.max_s)
    finally:
        pipeline.set_state(Gst.State.NULL)


def _media_type(file: str) -> str:
    uri = Path(file).resolve().as_uri()
    try:
        streams = GstPbutils.Discoverer.new(10 * Gst.SECOND).discover_uri(uri).get_video_streams()
    except GLib.Error as exc:
        raise RuntimeError(f"cannot read {file}: {exc.message}") from exc
    found = streams[0].get_caps().get_structure(0).get_name() if streams else "no video"
    if found not in CODECS:
        raise RuntimeError(f"cannot copy {found}: expected one of {', '.join(CODECS)}")
    return found


def _pull(pipeline: Gst.Pipeline, pay: str, *, max_s: float) -> Clip:
    sink = pipeline.get_by_name("sink")
    units: list[AccessUnit] = []
    caps, frame_ns = None, 0
    while sample := sink.emit("pull-sample"):
        buffer = sample.get_buffer()
        caps = caps or sample.get_caps()
        pts_ns = buffer.pts
        dts_ns = min(pts_ns, buffer.dts) if buffer.dts != Gst.CLOCK_TIME_NONE else pts_ns
        frame_ns = buffer.duration if buffer.duration != Gst.CLOCK_TIME_NONE else frame_ns
        is_key = not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
        start_ns = units[0].pts_ns if units else pts_ns
        if max_s and pts_ns - start_ns >= max_s * Gst.SECOND:
            break
        units.append(AccessUnit(buffer.extract_dup(0, buffer.get_size()), pts_ns, dts_ns, is_key))
    failed = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
    if failed or not units:
        raise RuntimeError(failed.parse_error()[0].message if failed else "the file has no video")
    zero_ns = min(unit.dts_ns for unit in units)
    last_ns = max(unit.pts_ns for unit in units)
    first_ns = min(unit.pts_ns for unit in units)
    frame_ns = frame_ns or (last_ns - first_ns) // max(1, len(units) - 1)
    moved = [AccessUnit(u.data, u.pts_ns - zero_ns, u.dts_ns - zero_ns, u.is_key) for u in units]
    return Clip(moved, last_ns - first_ns + frame_ns, caps, pay)


class LoopingFactory(GstRtspServer.RTSPMediaFactory):
    """Serves one clip to any number of viewers, who all see the same moment of it."""

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self._clip = clip
        self.set_launch(f"( appsrc name=clip is-live=true format=time ! {clip.pay} name=pay0 )")
        self.set_shared(True)
        self.connect("media-configure", self._start)

    def _start(
        self, _factory: GstRtspServer.RTSPMediaFactory, media: GstRtspServer.RTSPMedia
    ) -> None:
        source = media.get_element().get_child_by_name("clip")
        source.set_property("caps", self._clip.caps)
        stop = threading.Event()
        media.connect("unprepared", lambda _media: stop.set())
        threading.Thread(target=self._play, args=(source, stop), daemon=True).start()

    def _play(self, source: Gst.Element, stop: threading.Event) -> None:
        started_s = time.monotonic()
        loop_ns = 0
        while True:
            for unit in self._clip.units:
                due_s = started_s + (loop_ns + unit.dts_ns) / Gst.SECOND
                if stop.wait(max(0.0, due_s - time.monotonic())):
                    return
                buffer = Gst.Buffer.new_wrapped(unit.data)
                buffer.pts = loop_ns + unit.pts_ns
                buffer.dts = loop_ns + unit.dts_ns
                if not unit.is_key:
                    buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
                if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                    return
            loop_ns += self._clip.duration_ns


def authentication(user: str, password: str) -> GstRtspServer.RTSPAuth:
    """Demand this user and password by digest, as cameras do; anyone else gets 401."""
    auth = GstRtspServer.RTSPAuth.new()
    token = GstRtspServer.RTSPToken.new()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.add_digest(user, password, token)
    return auth


def for_viewers_only(factory: GstRtspServer.RTSPMediaFactory) -> None:
    """Hide the factory from anyone whose token has not the role `viewer`."""
    permissions = GstRtspServer.RTSPPermissions.new()
    permissions.add_role("viewer")
    for right in ("access", "construct"):
        permissions.add_permission_for_role("viewer", f"media.factory.{right}", True)  # noqa: FBT003
    factory.set_permissions(permissions)


def serve(args: argparse.Namespace) -> None:
    """Listen until SIGTERM or SIGINT.

    Raises:
        RuntimeError: the clip cannot be read, or the port is taken.
    """
    if args.audio_only:
        factory = GstRtspServer.RTSPMediaFactory.new()
        factory.set_launch(AUDIO_ONLY)
    else:
        factory = LoopingFactory(read_clip(args))
    if args.transport:
        factory.set_protocols(getattr(GstRtsp.RTSPLowerTrans, args.transport.upper()))
    server = GstRtspServer.RTSPServer.new()
    server.set_address(args.host)
    server.set_service(str(args.port))
    if args.user:
        password = Path(args.password_file).read_text(encoding="utf-8").rstrip("\n")
        server.set_auth(authentication(args.user, password))
        for_viewers_only(factory)
    server.get_mount_points().add_factory(args.path, factory)
    if not server.attach(None):
        raise RuntimeError(f"cannot listen on {args.host}:{args.port}")
    loop = GLib.MainLoop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signum, loop.quit)
    host = "127.0.0.1" if args.host == "0.0.0.0" else args.host  # noqa: S104 - a container's port
    print(f"ready rtsp://{host}:{server.get_bound_port()}{args.path}", flush=True)
    loop.run()


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Loop a clip over RTSP for ever.")
    parser.add_argument("--file", help="any video that GStreamer reads")
    parser.add_argument("--codec", choices=[*NAMES, "copy"], default="h264")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104
    parser.add_argument("--port", type=int, default=8554, help="0 takes a free one")
    parser.add_argument("--path", default="/stream")
    parser.add_argument("--gop-s", type=float, default=1.0, help="seconds between key frames")
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--width", type=int, help="pixels; with --height, else as the file")
    parser.add_argument("--height", type=int)
    parser.add_argument("--kbps", type=int, default=1500)
    parser.add_argument("--max-s", type=float, default=0.0, help="use the clip's first seconds")
    parser.add_argument("--user", help="demand digest authentication")
    parser.add_argument("--password-file", help="a file that holds the password")
    parser.add_argument("--transport", choices=["tcp", "udp"], help="refuse the other with 461")
    parser.add_argument("--audio-only", action="store_true", help="a camera without a picture")
    args = parser.parse_args()
    if not args.audio_only and not args.file:
        parser.error("--file is needed, unless --audio-only")
    if bool(args.width) != bool(args.height):
        parser.error("--width and --height go together")
    if bool(args.user) != bool(args.password_file):
        parser.error("--user and --password-file go together")
    return args


if __name__ == "__main__":
    Gst.init(None)
    try:
        serve(arguments())
    except RuntimeError as exc:
        sys.exit(f"rtsp_server: {exc}")
