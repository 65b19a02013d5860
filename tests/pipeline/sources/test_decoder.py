"""Opening, reading, decoding and scaling, on clips made here."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import numpy as np
import pytest

from model.errors import InputError
from model.types import PatchGrid
from pipeline.cadence import Cadence
from pipeline.clock import Clock, SystemClock
from pipeline.errors import SourceError
from pipeline.metrics import PICTURES_HELD_BACK
from pipeline.observer import UNOBSERVED, Observer
from pipeline.sources import decoder
from pipeline.sources.container import Arrival, Video, open_video
from pipeline.sources.decoder import Picture, PictureReader
from pipeline.sources.hold_back import HoldBack
from tests.fakes import FakeClock, Recorder
from tests.pipeline.sources.clips import FPS, GRID, clip, grid_of, index_of


def opened(path: Path, *, read_timeout_s: float = 5.0) -> Video:
    return open_video(
        str(path),
        options={},
        open_timeout_s=5.0,
        read_timeout_s=read_timeout_s,
        clock=SystemClock(),
    )


@dataclass
class Seen:
    """What came out, and after how many packets."""

    pictures: list[Picture] = field(default_factory=list)
    after_packets: list[int] = field(default_factory=list)
    num_packets: int = 0

    @property
    def times_s(self) -> list[float]:
        return [round(picture.pts_s, 3) for picture in self.pictures]


def play(path: Path, reader: PictureReader) -> Seen:
    seen = Seen()

    def counted(arrivals: Iterator[Arrival]) -> Iterator[Arrival]:
        for arrival in arrivals:
            seen.num_packets += 1
            yield arrival

    with opened(path) as video:
        for picture in reader.pictures(counted(video.packets()), context=video.codec_context):
            seen.pictures.append(picture)
            seen.after_packets.append(seen.num_packets)
    return seen


def one_a_second(observer: Observer = UNOBSERVED, clock: Clock | None = None) -> PictureReader:
    return PictureReader(
        "yard",
        wanted=Cadence(1.0).due,
        grid_of=grid_of,
        sample_period_s=1.0,
        hold_back=HoldBack("yard", observer=observer, clock=clock),
    )


def every_picture() -> PictureReader:
    return PictureReader("yard", wanted=lambda _: True, grid_of=grid_of, sample_period_s=0.01)


def test_pixels_are_contiguous_rgb_on_the_grid(tmp_path: Path) -> None:
    seen = play(clip(tmp_path / "a.mp4", seconds=1, gop_s=1), every_picture())
    picture = seen.pictures[0]
    assert picture.pixels.shape == (GRID.height_px, GRID.width_px, 3)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.c_contiguous
    assert picture.grid == GRID


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("gop_s", [1, 4])
@pytest.mark.parametrize("num_b_frames", [0, 2])
def test_each_picture_is_the_one_of_its_time(
    tmp_path: Path, codec: str, gop_s: float, num_b_frames: int
) -> None:
    path = clip(tmp_path / "a.mp4", seconds=8, gop_s=gop_s, codec=codec, num_b_frames=num_b_frames)
    seen = play(path, one_a_second())
    assert len(seen.pictures) in (8, 9)
    for picture in seen.pictures:
        assert index_of(picture.pixels) == round(picture.pts_s * FPS)


def test_every_frame_comes_when_every_frame_is_wanted(tmp_path: Path) -> None:
    seen = play(clip(tmp_path / "a.mp4", seconds=3, gop_s=1, num_b_frames=2), every_picture())
    assert [index_of(picture.pixels) for picture in seen.pictures] == list(range(30))


def test_key_frames_come_out_at_once_and_alone(tmp_path: Path) -> None:
    reader = one_a_second()
    seen = play(clip(tmp_path / "a.mp4", seconds=8, gop_s=1, num_b_frames=2), reader)
    assert reader.policy.keys_only
    assert seen.times_s[2:] == [2, 3, 4, 5, 6, 7]
    # Not one packet after the key frame itself, although the codec reorders.
    assert seen.after_packets[2:] == [20 + 1, 30 + 1, 40 + 1, 50 + 1, 60 + 1, 70 + 1]


def test_only_wanted_key_frames_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[float] = []
    plain = PictureReader._decode

    def counting(self: PictureReader, context, packet):  # type: ignore[no-untyped-def]
        if packet is not None:
            decoded.append(float(packet.pts * packet.time_base))
        return plain(self, context, packet)

    monkeypatch.setattr(PictureReader, "_decode", counting)
    seen = play(clip(tmp_path / "a.mp4", seconds=8, gop_s=0.5), one_a_second())
    assert seen.times_s[2:] == [2, 3, 4, 5, 6, 7]
    # At 1 s it is tried whether key frames are enough.
    assert [t_s for t_s in decoded if t_s > 1.0] == seen.times_s[2:]


def test_a_camera_that_stretches_its_key_frame_interval_leaves_no_gap(tmp_path: Path) -> None:
    close = clip(tmp_path / "close.h264", seconds=4, gop_s=1)
    far = clip(tmp_path / "far.h264", seconds=6, gop_s=6)
    both = tmp_path / "both.h264"
    both.write_bytes(close.read_bytes() + far.read_bytes())
    reader = one_a_second()
    with opened(both) as video:
        stamped = (restamped(a, i / FPS) for i, a in enumerate(video.packets()))
        times_s = [p.pts_s for p in reader.pictures(stamped, context=video.codec_context)]
    gaps_s = np.diff(times_s)
    assert len(times_s) in (10, 11)
    assert gaps_s.max() < 1.5


def restamped(arrival: Arrival, pts_s: float) -> Arrival:
    """A raw stream has no times of its own."""
    arrival.packet.pts = arrival.packet.dts = None
    return replace(arrival, pts_s=pts_s)


def test_packets_without_times_are_counted_up(tmp_path: Path) -> None:
    with opened(clip(tmp_path / "a.h264", seconds=2, gop_s=1)) as video:
        times_s = [arrival.pts_s for arrival in video.packets()]
    assert len(times_s) == 20
    assert np.all(np.diff(times_s) > 0)


def test_a_new_size_gets_a_new_grid(tmp_path: Path) -> None:
    wide = clip(tmp_path / "wide.h264", seconds=2, gop_s=1, size_px=(96, 192))
    tall = clip(tmp_path / "tall.h264", seconds=2, gop_s=1, size_px=(192, 96))
    both = tmp_path / "both.h264"
    both.write_bytes(wide.read_bytes() + tall.read_bytes())
    reader = PictureReader(
        "yard",
        wanted=lambda _: True,
        grid_of=lambda height_px, width_px: PatchGrid(height_px // 48, width_px // 48),
        sample_period_s=0.01,
    )
    grids = [picture.grid for picture in play(both, reader).pictures]
    assert grids == [PatchGrid(2, 4)] * 20 + [PatchGrid(4, 2)] * 20


def test_damage_is_counted_and_passed_over(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mkv", seconds=8, gop_s=1)
    observer = Recorder()
    reader = one_a_second(observer)
    with opened(path) as video:
        arrivals = (
            damaged(arrival) if 30 <= index < 35 else arrival
            for index, arrival in enumerate(video.packets())
        )
        times_s = [
            round(p.pts_s, 3) for p in reader.pictures(arrivals, context=video.codec_context)
        ]
    assert observer.total(PICTURES_HELD_BACK, camera="yard", reason="concealed") > 0
    assert times_s[-3:] == pytest.approx([5, 6, 7], abs=0.1)


def damaged(arrival: Arrival) -> Arrival:
    memory = np.frombuffer(memoryview(arrival.packet), dtype=np.uint8)
    memory[:] = np.random.default_rng(0).integers(0, 256, len(memory), dtype=np.uint8)
    return arrival


def test_nothing_but_damage_for_minutes_is_the_end(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mkv", seconds=16, gop_s=1)
    clock = FakeClock()
    reader = one_a_second(clock=clock)
    with opened(path) as video:
        arrivals = (damaged(arrival) for arrival in video.packets())
        with pytest.raises(SourceError, match="for minutes") as caught:
            list(reader.pictures(slowly(arrivals, clock), context=video.codec_context))
    assert caught.value.reason == "corrupt"
    assert clock.seconds == pytest.approx(121, abs=11)  # it is found at a key frame


def slowly(arrivals: Iterable[Arrival], clock: FakeClock) -> Iterator[Arrival]:
    """One packet a second."""
    for arrival in arrivals:
        clock.seconds += 1.0
        yield arrival


def test_a_stream_without_key_frames_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "MAX_PACKETS_TO_KEY", 30)
    with opened(clip(tmp_path / "a.mp4", seconds=8, gop_s=8)) as video:
        headless = (a for a in video.packets() if not a.packet.is_keyframe)
        with pytest.raises(SourceError, match="without a key frame"):
            list(one_a_second().pictures(headless, context=video.codec_context))


def test_what_is_no_video_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"not a video" * 100)
    with pytest.raises(SourceError) as caught:
        opened(path)
    assert caught.value.reason == "corrupt"


def test_a_codec_nobody_knows_is_unsupported(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", seconds=1, gop_s=1)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(SourceError) as caught:
        opened(path)
    assert caught.value.reason == "codec_unsupported"


def test_a_shape_no_grid_fits_is_corrupt(tmp_path: Path) -> None:
    def refuse(height_px: int, width_px: int) -> PatchGrid:
        raise InputError(f"expected another shape, got {width_px}x{height_px}")

    path = clip(tmp_path / "a.mp4", seconds=1, gop_s=1)
    reader = PictureReader("yard", wanted=lambda _: True, grid_of=refuse, sample_period_s=1.0)
    with pytest.raises(SourceError, match="corrupt: expected another shape, got 128x96"):
        play(path, reader)


def test_a_video_may_be_named_in_any_letters(tmp_path: Path) -> None:
    """Latin-1 or GBK in the name of a camera's session ended the worker, time after time."""
    plain, named = clip(tmp_path / "plain.mkv", seconds=1, gop_s=1), tmp_path / "named.mkv"
    with av.open(str(plain)) as before, av.open(str(named), "w") as after:
        after.metadata["title"] = "Kuche !!"
        stream = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                after.mux(packet)
    odd = named.read_bytes().replace(b"Kuche !!", b"K\xfcche \xc9\xd0")
    named.write_bytes(odd)
    with opened(named) as video:
        assert sum(1 for _ in video.packets()) == FPS
