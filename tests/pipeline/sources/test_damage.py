"""Damage has a voice: what is lost, concealed or stale reaches nobody, and is told.

Each stream comes from the scripted camera, over a real connection.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import islice
from pathlib import Path
from threading import Timer
from time import monotonic

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.cadence import Cadence
from pipeline.clock import Clock, SystemClock
from pipeline.freeze_watch import FreezeWatch
from pipeline.metrics import PICTURES_HELD_BACK
from pipeline.regions import Region
from pipeline.sources.decoder import PictureReader
from pipeline.sources.encoder import as_coded
from pipeline.sources.file import FileSource
from pipeline.sources.hold_back import Damaged
from pipeline.sources.rtsp import RtspSource, Transport
from pipeline.types import Frame
from tests.benchmarks.damage import (
    FPS,
    GRID,
    arrival_of,
    decoded,
    outcome,
    until_its_end,
    yard,
)
from tests.fakes import FakeClock, Recorder
from tests.servers.rtp import (
    PLAIN_H265,
    Codec,
    Packet,
    Unit,
    coded,
    lose,
    lose_where,
    lossless,
    sets_before_each_slice,
    swap,
)
from tests.servers.rtsp import StartCamera
from tests.servers.rtsp_camera import ScriptedCamera, Track

DEMO_CLIP = Path(__file__).resolve().parents[3] / "worker" / "demo" / "yard.mp4"
SECONDS = 8.0
FAST = 20.0
EVERY_S = 1e-5  # of the sampler: all pictures, also those that come together and are scaled at once
STREAMS: dict[str, tuple[Codec, dict[str, str]]] = {
    "x264": ("h264", {}),
    "slices": ("h264", {"x264_params": "slices=4"}),
    "b_frames": ("h264", {"bf": "2"}),
    "open_gop": ("h264", {"bf": "2", "x264_params": "open-gop=1", "forced_idr": "0"}),
    "intra_refresh": ("h264", {"x264_params": "intra-refresh=1"}),
    "h265": ("h265", {}),
    "in_parts": ("h264", {"x264_params": "slices=4"}),
    "h265_in_parts": ("h265", {"x265_params": f"{PLAIN_H265}:slices=2:ctu=16"}),
}


@cache
def pictures() -> tuple[NDArray[np.uint8], ...]:
    return tuple(yard(SECONDS))


@cache
def stream(name: str, *, gop_s: float = 1.0) -> tuple[Unit, ...]:
    codec, options = STREAMS[name]
    units = coded(pictures(), fps=FPS, gop_s=gop_s, codec=codec, **options)
    return tuple(sets_before_each_slice(units, codec) if name.endswith("in_parts") else units)


@pytest.mark.parametrize("name", STREAMS)
def test_of_a_sound_stream_no_picture_is_held_back(name: str) -> None:
    codec, options = STREAMS[name]
    # Pictures that are sent ahead of their time are put in order by when they come: 20 ms apart, on
    # a machine that is busy, one may be taken for older than the one before it.
    is_reordered = "bf" in options
    speed = 2.0 if is_reordered else FAST
    seen = outcome(stream(name), network=lossless, speed=speed, period_s=EVERY_S, codec=codec)
    assert (seen.num_smeared, seen.num_held) == (0, 0)
    # The first of a reordered stream show how far they are sent ahead.
    assert set(range(80)) - set(seen.shown) <= (set(range(1, 10)) if is_reordered else set())


@pytest.mark.parametrize("loss", [0.02, 0.1])
@pytest.mark.parametrize("name", STREAMS)
def test_where_packets_are_lost_no_smeared_picture_comes(name: str, loss: float) -> None:
    """frigate#27, #3754, #248, #1277: 6 to 17 of 20 pictures were smeared, and came as sound."""
    codec, _ = STREAMS[name]
    seen = outcome(
        stream(name),
        network=lose(loss, seed=4, spare_units=15),
        speed=FAST,
        period_s=EVERY_S,
        codec=codec,
    )
    assert seen.num_smeared == 0
    assert len(seen.shown) >= 12  # what comes before the first loss


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_what_comes_again_after_a_loss_is_all_that_is_sound(transport: Transport) -> None:
    """frigate#27: one packet of one picture, and the pictures made from it."""
    seen = outcome(
        stream("x264"),
        network=lose_where(lambda packet: packet.unit == 43 and packet.is_last),
        speed=FAST / 4,
        period_s=EVERY_S,
        transport=transport,
    )
    assert seen.num_smeared == 0
    assert set(range(80)) - set(seen.shown) <= set(range(42, 50))
    assert set(seen.shown) >= {*range(42), *range(50, 80)}


def test_packets_that_change_places_lose_nothing() -> None:
    seen = outcome(stream("x264"), network=swap(every=7), speed=FAST, period_s=EVERY_S)
    assert (len(seen.shown), seen.num_smeared) == (80, 0)


def test_a_key_frame_that_lacks_its_beginning_is_none() -> None:
    """A decoder that begins with the rest of a key frame fills the picture in."""

    def is_first_half(packet: Packet) -> bool:
        return packet.is_key and packet.unit == 40 and not packet.is_last

    seen = outcome(
        stream("slices"), network=lose_where(is_first_half), speed=FAST, period_s=EVERY_S
    )
    assert seen.num_smeared == 0
    assert set(seen.shown).isdisjoint(range(40, 50))


# ---------------------------------------------------------------- what is told


CLOCK_SPEED = 8.0  # a thread that waits for a quarter of a second is two seconds late


class FastClock(SystemClock):
    """Time that passes as fast as the camera sends."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=monotonic() * (CLOCK_SPEED - 1))

    def monotonic_s(self) -> float:
        return monotonic() * CLOCK_SPEED


@dataclass
class Watched:
    """What a source gave and said, in order; frames by whether they are damaged."""

    frames: list[Frame] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    observer: Recorder = field(default_factory=Recorder)

    def tell(self, camera_id: str, reason: str, detail: str | None) -> None:
        assert camera_id == "yard"
        if reason != "stalled":  # that it is not, is said all the time
            self.said.append(f"over: {reason}" if detail is None else f"{reason}: {detail}")

    def source(self, url: str, *, clock: Clock, damaged: Damaged = "hide") -> RtspSource:
        return RtspSource(
            "yard",
            url,
            wanted=lambda _camera_id, _pts_s: True,
            grid_of=lambda *_: GRID,
            clock=clock,
            open_timeout_s=5.0 * CLOCK_SPEED,
            read_timeout_s=5.0 * CLOCK_SPEED,
            sample_period_s=0.01,
            observer=self.observer,
            tell=self.tell,
            damaged=damaged,
        )

    def watch(self, url: str, *, damaged: Damaged) -> None:
        for frame in until_its_end(self.source(url, clock=FastClock(), damaged=damaged)):
            self.frames.append(frame)
            self.said.append("damaged" if frame.is_damaged else "sound")


def lossy_for_a_while() -> Track:
    """Eight seconds four times over: no key frame is whole between 4 s and 24 s."""

    def is_lost(packet: Packet) -> bool:
        is_middle = packet.is_key and packet.payload[1] & 0xC0 == 0  # of a fragmented slice
        return 40 <= packet.unit < 240 and is_middle

    return Track(
        stream("x264"),
        rounds=4,
        network=lose_where(is_lost),
        send_at_s=lambda _number, t_s: t_s / CLOCK_SPEED,
    )


def test_damage_that_lasts_is_told_and_taken_back_and_nobody_sees_it() -> None:
    """frigate#27, #3754, #248, #1277: no status, no metric."""
    watched = Watched()
    with ScriptedCamera([lossy_for_a_while()]) as camera:
        watched.watch(camera.url, damaged="hide")
    sound = {pixels.tobytes() for pixels in decoded(stream("x264")).values()}
    assert all(frame.pixels.tobytes() in sound for frame in watched.frames)
    assert not any(frame.is_damaged for frame in watched.frames)
    told = [one for one in watched.said if one != "sound"]
    assert told[0].startswith("damaged: packets of its video are lost on the way: ")
    assert told[-1] == "over: damaged"
    begin, end = watched.said.index(told[0]), watched.said.index(told[-1])
    assert "sound" not in watched.said[begin:end]
    assert begin == pytest.approx(40, abs=2)
    assert len(watched.frames) == pytest.approx(320 - 200, abs=5)
    held = watched.observer.total(PICTURES_HELD_BACK, camera="yard", reason="lost")
    assert held == pytest.approx(200, abs=5)


def test_a_damaged_camera_is_shown_where_that_is_wanted_and_marked() -> None:
    watched = Watched()
    with ScriptedCamera([lossy_for_a_while()]) as camera:
        watched.watch(camera.url, damaged="show")
    sound = {pixels.tobytes() for pixels in decoded(stream("x264")).values()}
    unmarked = [frame for frame in watched.frames if not frame.is_damaged]
    assert all(frame.pixels.tobytes() in sound for frame in unmarked)
    shown = watched.said.index("damaged")
    assert watched.said[shown - 1].startswith("damaged_shown: packets of its video are lost")
    assert 60 <= watched.said.count("damaged") <= 120  # all but the first ten seconds of twenty
    assert "damaged" not in watched.said[watched.said.index("over: damaged_shown") :]


# ---------------------------------------------------------------- the demo's camera


def test_who_joins_the_demos_camera_in_mid_stream_sees_it_whole_and_over_the_seam(
    rtsp_camera: StartCamera,
) -> None:
    """Its pictures are of two slices, and every twelfth is a key frame: it was damaged for good."""
    true = {frame.pixels.tobytes() for frame in played(DEMO_CLIP, num_pictures=18)}
    url = rtsp_camera(DEMO_CLIP, codec="copy", max_s=3).url
    first, second = Watched(), Watched()
    show, joining = (seen.source(url, clock=SystemClock()) for seen in (first, second))
    shown = show.frames()
    give_up = [Timer(20.0, source.close) for source in (show, joining)]
    for timer in give_up:
        timer.start()
    first.frames += islice(shown, 3)
    second.frames += islice(joining.frames(), 15)
    show.close()  # not before: the clip begins anew when nobody watches
    first.frames += shown
    for timer in give_up:
        timer.cancel()
    for watched in (first, second):
        assert true.issuperset(frame.pixels.tobytes() for frame in watched.frames)
        assert (watched.said, watched.observer.total(PICTURES_HELD_BACK)) == ([], 0)
    assert len(second.frames) == 15


# ---------------------------------------------------------------- intra refresh


@pytest.mark.parametrize("phase_s", [0.0, 0.9])
def test_an_intra_refresh_stream_shows_no_half_stale_picture(phase_s: float) -> None:
    """ExoPlayer#1654, rockchip-mpp#523, webcodecs#710: 14 to 17 levels off after each connect."""
    units = stream("intra_refresh")
    true = decoded(units)
    as_parsed = [  # its recovery points look like key frames, and cannot be decoded alone
        arrival_of(unit, is_key=unit.is_key or any(nal[:2] == b"\x06\x06" for nal in unit.nals))
        for unit in units
    ]
    assert sum(arrival.packet.is_keyframe for arrival in as_parsed) >= SECONDS - 1
    for first in (0, 25):  # from the one true key frame, and joined in the middle
        reader = PictureReader(
            "yard",
            wanted=lambda pts_s: abs((pts_s - phase_s + 0.5) % 1.0 - 0.5) < 0.01,
            grid_of=lambda *_: GRID,
            sample_period_s=1.0,
        )
        context = av.CodecContext.create("h264", "r")
        assert isinstance(context, av.VideoCodecContext)
        seen = list(reader.pictures(as_parsed[first:], context=context))
        for picture in seen:
            assert np.array_equal(picture.pixels, true[round(picture.pts_s * FPS)])
        whole_s = 0.0 if first == 0 else 3.85  # a second after the first recovery point
        times_s = [phase_s + second for second in range(round(SECONDS))]
        times_s = [time_s for time_s in times_s if time_s >= whole_s]
        assert [picture.pts_s for picture in seen] == pytest.approx(times_s)


# ---------------------------------------------------------------- transport streams


def test_a_transport_stream_that_lacks_packets_shows_no_smeared_picture(tmp_path: Path) -> None:
    """Its continuity counters tell what RTP's numbers tell."""
    path = tmp_path / "yard.ts"
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"bf": "0", "g": "10"})
        video.height, video.width = pictures()[0].shape[:2]
        video.pix_fmt = "yuv420p"
        for picture in pictures():
            container.mux(video.encode(as_coded(picture)))
        container.mux(video.encode(None))
    sound = {frame.pixels.tobytes() for frame in played(path)}
    data, chance = path.read_bytes(), np.random.default_rng(2)
    parts = [data[at : at + 188] for at in range(0, len(data), 188)]
    kept = [part for index, part in enumerate(parts) if index < 300 or chance.random() > 0.01]
    path.write_bytes(b"".join(kept))
    frames = played(path)
    assert len(kept) < len(parts)
    assert len(sound) == round(SECONDS * FPS)
    assert 10 <= len(frames) < len(sound)
    assert all(frame.pixels.tobytes() in sound for frame in frames)


def played(path: Path, *, num_pictures: int | None = None) -> list[Frame]:
    source = FileSource(
        "yard",
        path,
        wanted=lambda _camera_id, _pts_s: True,
        grid_of=lambda *_: GRID,
        clock=SystemClock(),
        live=False,
        loop=False,
        sample_period_s=0.01,
    )
    return list(islice(until_its_end(source), num_pictures))


# ---------------------------------------------------------------- dead pictures


def coded_scene(pictures_of: Iterator[NDArray[np.uint8]], *, gop_s: float) -> list[Frame]:
    """A frame a second of a scene as an encoder sends it, five pictures a second."""
    units = coded(pictures_of, fps=5, gop_s=gop_s)
    reader = PictureReader(
        "yard", wanted=Cadence(1.0).due, grid_of=lambda *_: GRID, sample_period_s=1.0
    )
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, av.VideoCodecContext)
    return [
        Frame(
            "yard",
            picture.pixels,
            picture.grid,
            picture.pts_s,
            picture.captured_at,
            is_coded_anew=picture.is_coded_anew,
        )
        for picture in reader.pictures(map(arrival_of, units), context=context)
    ]


def with_clock(still: NDArray[np.uint8], seconds: int) -> Iterator[NDArray[np.uint8]]:
    """Digits that run over the first rows of a picture that is dead."""
    digits = np.random.default_rng(0)
    for _ in range(5 * seconds):
        shown = still.copy()
        shown[4:12, 8:72] = np.kron(digits.choice([16, 235], size=(2, 16, 1)), np.ones((4, 4, 3)))
        yield shown


def is_frozen_at_the_end(frames: Sequence[Frame], ignore: tuple[Region, ...] = ()) -> bool:
    clock = FakeClock()
    watch = FreezeWatch(20.0, clock=clock, ignore={"yard": ignore})
    said = False
    for frame in frames:
        clock.seconds = frame.pts_s
        said = watch.is_frozen(frame)
    return said


@pytest.mark.parametrize("gop_s", [1.0, 2.0])
def test_a_dead_picture_under_a_running_clock_is_frozen_where_the_clock_is_ignored(
    gop_s: float,
) -> None:
    """frigate#22321, screenpipe#4399: it was online for ever."""
    frames = coded_scene(with_clock(pictures()[0], 40), gop_s=gop_s)
    top = Region(0.0, 0.0, 1.0, 0.25)
    assert is_frozen_at_the_end(frames, ignore=(top,))
    assert not is_frozen_at_the_end(frames)


def test_a_quiet_scene_with_key_frames_far_apart_is_not_frozen() -> None:
    """The codec itself repeats the picture, bit for bit, until it codes one anew."""
    still = pictures()[0]
    frames = coded_scene((still for _ in range(200)), gop_s=60.0)
    assert len({frame.pixels.tobytes() for frame in frames}) < 10
    assert not is_frozen_at_the_end(frames)
