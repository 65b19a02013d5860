"""Pictures smeared that reached the model, and pictures lost to caution, where packets are lost.

A scripted camera sends a rendered yard over RTSP and loses packets at random. Decoding is exact: a
picture is sound where it has the very pixels that it has without losses, else it is smeared.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from model.scenes import Scene
from model.types import PatchGrid
from pipeline.cadence import Cadence
from pipeline.clock import SystemClock
from pipeline.errors import SourceError
from pipeline.metrics import PICTURES_HELD_BACK
from pipeline.observer import Observer
from pipeline.sources.base import FrameSource
from pipeline.sources.container import Arrival
from pipeline.sources.decoder import PictureReader
from pipeline.sources.rtsp import RtspSource, Transport
from pipeline.types import Frame
from tests.fakes import Recorder
from tests.servers.rtp import Codec, Network, Packet, Unit, coded, honest_stamp, lose
from tests.servers.rtsp_camera import ScriptedCamera, Track
from worker.benchmarks.report import Progress, Row, at_most

FPS = 10
GRID = PatchGrid(8, 12)
YARD_SEED = 10_000_024
TICKS = Fraction(1, 90_000)
LOSSES = (0.0, 0.01, 0.02, 0.05, 0.1)
GOPS_S = (1.0, 2.0, 4.0)


def yard(seconds: float) -> list[NDArray[np.uint8]]:
    """Return a yard with people and cars, and a sensor's noise."""
    scene = Scene.from_seed(YARD_SEED, duration_s=seconds)
    return [scene.frame(index / FPS) for index in range(round(seconds * FPS))]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a stream's pictures.

    Attributes:
        shown: numbers of the sound pictures that came, in display order; those that came twice too.
        num_smeared: pictures that came and show what was not sent.
        num_held: pictures that were held back.
        sound: numbers of those whose packets and whose references' packets all arrived.
    """

    shown: tuple[int, ...]
    num_smeared: int
    num_held: int
    sound: frozenset[int]

    @property
    def num_lost_to_caution(self) -> int:
        """Seconds with a sound picture, of one picture taken a second, less pictures shown."""
        return max(0, len({number // FPS for number in self.sound}) - len(self.shown))


def outcome(
    units: Sequence[Unit],
    *,
    network: Network,
    speed: float = 1.0,
    period_s: float = 1.0,
    codec: Codec = "h264",
    transport: Transport = "tcp",
) -> Outcome:
    """Watch a camera through a network.

    Args:
        units: without B-frames, their numbers being their times by FPS.
        network: what happens to the packets.
        speed: how many times faster than real the camera's time passes.
        period_s: of the sampler, in real time.
        codec: of the units.
        transport: of RTP.
    """
    arrived: list[Packet] = []
    observer = Recorder()

    def noted(sent: Iterator[Packet]) -> Iterator[Packet]:
        for packet in network(sent):
            arrived.append(packet)
            yield packet

    track = Track(
        units,
        codec=codec,
        network=noted,
        stamp_of=lambda number, t_s: honest_stamp(number, t_s / speed),
        send_at_s=lambda _number, t_s: t_s / speed,
    )
    with ScriptedCamera([track]) as camera:
        source = _source(camera.url, period_s=period_s, transport=transport, observer=observer)
        frames = list(until_its_end(source))
    true = {pixels.tobytes(): number for number, pixels in decoded(units, codec=codec).items()}
    numbers = [true.get(frame.pixels.tobytes()) for frame in frames]
    return Outcome(
        tuple(number for number in numbers if number is not None),
        numbers.count(None),
        round(observer.total(PICTURES_HELD_BACK)),
        _sound(units, track, arrived),
    )


def _source(url: str, *, period_s: float, transport: Transport, observer: Observer) -> RtspSource:
    cadence = Cadence(period_s)
    return RtspSource(
        "yard",
        url,
        wanted=lambda _camera_id, pts_s: cadence.due(pts_s),
        grid_of=lambda _height_px, _width_px: GRID,
        clock=SystemClock(),
        open_timeout_s=5.0,
        read_timeout_s=5.0,
        transport=transport,
        sample_period_s=period_s,
        observer=observer,
    )


def until_its_end(source: FrameSource) -> Iterator[Frame]:
    """Yield a source's frames until it has no more."""
    try:
        yield from source.frames()
    except SourceError as error:
        if error.reason != "ended":
            raise


def decoded(units: Sequence[Unit], *, codec: Codec = "h264") -> dict[int, NDArray[np.uint8]]:
    """Return each picture as it is without losses, by its number."""
    context = av.CodecContext.create({"h264": "h264", "h265": "hevc"}[codec], "r")
    assert isinstance(context, VideoCodecContext)
    reader = PictureReader(
        "yard", wanted=lambda _: True, grid_of=lambda *_: GRID, sample_period_s=1e-3
    )
    pictures = reader.pictures(map(arrival_of, units), context=context)
    return {round(picture.pts_s * FPS): picture.pixels for picture in pictures}


def arrival_of(unit: Unit, *, is_key: bool | None = None) -> Arrival:
    """Return a unit as a container would give it."""
    packet = av.Packet(b"".join(b"\0\0\0\1" + nal for nal in unit.nals))
    packet.pts = round(unit.t_s / TICKS)
    packet.is_keyframe = unit.is_key if is_key is None else is_key
    return Arrival(packet, unit.t_s, TICKS, datetime.now(UTC))


def _sound(units: Sequence[Unit], track: Track, arrived: Sequence[Packet]) -> frozenset[int]:
    got = {(packet.unit, packet.payload) for packet in arrived}
    sound, is_whole = set(), False
    for number, unit in enumerate(units):
        is_complete = all((number, payload) in got for payload in track.payloads(unit))
        is_whole = is_complete and (is_whole or unit.is_key)
        if is_whole:
            sound.add(round(unit.t_s * FPS))
    return frozenset(sound)


def measure(progress: Progress) -> list[Row]:
    """Measure every rate and interval, at once and at real speed."""
    seconds = 60.0
    pictures = yard(seconds)
    rows = []
    for gop_s in GOPS_S:
        units = coded(pictures, fps=FPS, gop_s=gop_s, x264_params="scenecut=0")
        num_packets = sum(len(Track(units).payloads(unit)) for unit in units)
        progress(f"key frames every {gop_s:g} s: {num_packets / len(units):.1f} packets a picture")
        watch = partial(outcome, units)
        with ThreadPoolExecutor(len(LOSSES)) as pool:
            running = [pool.submit(watch, network=lose(loss, seed=1)) for loss in LOSSES]
        for loss, done in zip(LOSSES, running, strict=True):
            rows += _rows(done.result(), loss=loss, gop_s=gop_s)
    return rows


def _rows(seen: Outcome, *, loss: float, gop_s: float) -> list[Row]:
    name = f"loss_{100 * loss:g}_percent_key_frames_every_{gop_s:g}_s"
    terms = {
        "shown": float(len(seen.shown)),
        "sound": float(len(seen.sound)),
        "held_back": float(seen.num_held),
    }
    smeared = at_most(f"smeared_{name}", float(seen.num_smeared), 0.0, unit="pictures", terms=terms)
    lost = float(seen.num_lost_to_caution)
    if loss:
        return [smeared, Row(f"lost_to_caution_{name}", lost, "pictures")]
    return [smeared, at_most(f"lost_to_caution_{name}", lost, 0.0, unit="pictures")]
