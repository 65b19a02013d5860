"""Decoding on a device in the processor's place; only the last test needs NVIDIA's."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import av.error
import numpy as np
import pytest
import structlog
from av.video.codeccontext import VideoCodecContext

from pipeline.cadence import Cadence
from pipeline.metrics import GPU_DECODING_FAILURES, PICTURES_HELD_BACK
from pipeline.sources import nvdec
from pipeline.sources.container import Arrival
from pipeline.sources.decoder import Picture, PictureReader
from pipeline.sources.decoding_device import DecodingDevice
from pipeline.sources.hold_back import HoldBack
from pipeline.sources.nvdec import Nvdec
from pipeline.sources.scaler import Scaler
from tests.fakes import Recorder
from tests.pipeline.sources.clips import clip, grid_of
from tests.pipeline.sources.test_decoder import damaged, opened

CODECS = [pytest.param("libx264", id="h264"), pytest.param("libx265", id="hevc")]
BROKEN = av.error.ExternalError(542398533, "the device is gone")


class OnDevice:
    """A decoder that is the device's as far as anyone can tell, and fails when it is told to."""

    def __init__(self, context: VideoCodecContext, *, fails_at: int | None = None) -> None:
        self._inner = cast("VideoCodecContext", av.CodecContext.create(context.codec, "r"))
        self._inner.extradata = context.extradata
        self._inner.thread_count = 1
        self._left = fails_at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def flags(self) -> int:
        return self._inner.flags

    @flags.setter
    def flags(self, flags: int) -> None:
        self._inner.flags = flags

    def decode(self, packet: Any) -> list[Any]:
        if self._left is not None and packet is not None:
            if not self._left:
                raise BROKEN
            self._left -= 1
        return self._inner.decode(packet)


@dataclass
class Built:
    """A device of a processor's decoders, of which those for cameras fail, not those it tries."""

    fails_at: int | None = None
    num_made: int = 0

    def device(self, observer: Recorder, *, most: int = 8) -> Nvdec:
        return Nvdec(most=most, observer=observer, made=self.made, pixel_format="yuv420p")

    def made(self, context: VideoCodecContext) -> VideoCodecContext:
        self.num_made += 1
        fails_at = self.fails_at if context.extradata else None
        return cast("VideoCodecContext", OnDevice(context, fails_at=fails_at))


def read(
    path: Path,
    device: DecodingDevice | None,
    *,
    observer: Recorder | None = None,
    packet: Callable[[int, Arrival], Arrival] = lambda _index, arrival: arrival,
    period_s: float = 1.0,
) -> list[Picture]:
    reader = PictureReader(
        "yard",
        wanted=Cadence(period_s).due,
        grid_of=grid_of,
        sample_period_s=period_s,
        hold_back=HoldBack("yard", observer=observer or Recorder()),
        device=device,
    )
    with opened(path) as video:
        arrivals = (packet(*one) for one in enumerate(video.packets()))
        return list(reader.pictures(arrivals, context=video.codec_context, aspect=video.aspect))


def same(first: list[Picture], second: list[Picture]) -> bool:
    return [(one.pts_s, one.pixels.tobytes(), one.video) for one in first] == [
        (one.pts_s, one.pixels.tobytes(), one.video) for one in second
    ]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("gop_s", [1, 4])
def test_a_device_gives_the_pictures_that_a_processor_gives(
    tmp_path: Path, codec: str, gop_s: int
) -> None:
    path = clip(tmp_path / "a.mkv", seconds=8, gop_s=gop_s, codec=codec, num_b_frames=2)
    observer, built = Recorder(), Built()
    expected = read(path, None)
    assert len(expected) >= 8
    device = built.device(observer)
    assert same(read(path, device), expected)
    assert built.num_made == 2  # one was tried
    assert observer.total(GPU_DECODING_FAILURES) == 0
    assert device.num_lent == 0


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("gop_s", [1, 4])
def test_a_device_that_fails_in_mid_stream_is_left_for_the_processor(
    tmp_path: Path, codec: str, gop_s: int
) -> None:
    path = clip(tmp_path / "a.mkv", seconds=12, gop_s=gop_s, codec=codec)
    expected = {round(one.pts_s, 3): one.pixels for one in read(path, None, period_s=0.2)}
    for fails_at in (0, 1, 15, 40, 45):
        observer, built = Recorder(), Built(fails_at)
        device = built.device(observer)
        with structlog.testing.capture_logs() as logged:
            pictures = read(path, device, observer=observer, period_s=0.2)
        times_s = [round(one.pts_s, 3) for one in pictures]
        assert times_s == sorted(set(times_s))
        assert all(
            np.array_equal(one.pixels, expected[t])
            for one, t in zip(pictures, times_s, strict=True)
        )
        missed_s = sorted(set(expected) - set(times_s))
        assert not missed_s or missed_s[-1] - missed_s[0] < gop_s
        if fails_at % (10 * gop_s):
            assert observer.total(PICTURES_HELD_BACK, camera="yard", reason="concealed") > 0
        else:
            assert not missed_s  # a key frame, which the processor decodes at once
        assert observer.total(GPU_DECODING_FAILURES, camera="yard") == 1
        assert device.num_lent == 0
        (said,) = [one for one in logged if one["event"] == "gpu_decoding_failed"]
        assert said["camera"] == "yard"
        assert same(read(path, device), read(path, None))  # which it is not given again
        assert observer.total(GPU_DECODING_FAILURES, camera="yard") == 1


def test_a_camera_of_whose_video_key_frames_are_enough_leaves_the_device_to_others(
    tmp_path: Path,
) -> None:
    path = clip(tmp_path / "a.mkv", seconds=6, gop_s=1)
    device = Built().device(Recorder())
    num_lent: list[int] = []

    def packet(_index: int, arrival: Arrival) -> Arrival:
        num_lent.append(device.num_lent)
        return arrival

    assert same(read(path, device, packet=packet), read(path, None))
    assert (num_lent[1], num_lent[-1]) == (1, 0)


def test_a_picture_that_cannot_be_brought_here_is_the_devices_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clip(tmp_path / "a.mkv", seconds=4, gop_s=1)
    observer = Recorder()
    device = Built().device(observer)
    brought, num_brought = Scaler.scaled, 0

    def scaled(self: Scaler, frame: Any, **how: Any) -> Any:
        nonlocal num_brought
        num_brought += 1
        if num_brought == nvdec.TRIED_PICTURES * 2 + 2:
            raise BROKEN
        return brought(self, frame, **how)

    monkeypatch.setattr(Scaler, "scaled", scaled)
    pictures = read(path, device, observer=observer)
    assert [round(one.pts_s) for one in pictures] == [0, 1, 2, 3]
    assert observer.total(GPU_DECODING_FAILURES, camera="yard") == 1


def test_damage_of_the_video_is_no_failure_of_the_device(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mkv", seconds=8, gop_s=1)

    def packet(index: int, arrival: Arrival) -> Arrival:
        return damaged(arrival) if 30 <= index < 35 else arrival

    observer = Recorder()
    pictures = read(path, Built().device(observer), observer=observer, packet=packet)
    assert same(pictures, read(path, None, packet=packet))
    assert observer.total(PICTURES_HELD_BACK, camera="yard", reason="concealed") > 0
    assert observer.total(GPU_DECODING_FAILURES) == 0


def test_no_more_cameras_than_it_may_take_are_on_the_device(tmp_path: Path) -> None:
    device = Built().device(Recorder(), most=1)
    with opened(clip(tmp_path / "a.mkv", seconds=1, gop_s=1)) as video:
        context = video.codec_context
        assert device.lend("gate", context) is not None
        assert device.lend("gate", context) is None  # of a thread that was given up
        assert device.lend("yard", context) is None
        assert device.num_lent == 1
        device.give_back("gate")
        assert device.lend("yard", context) is not None


def test_other_codecs_are_the_processors(tmp_path: Path) -> None:
    built = Built()
    with opened(clip(tmp_path / "a.mkv", seconds=1, gop_s=1)) as video:
        cameras = av.CodecContext.create("mpeg4", "r")
        assert built.device(Recorder()).lend("yard", cameras) is None
        assert video.codec_context.name == "h264"
    assert built.num_made == 0


class Missing(Built):
    """There is no driver."""

    def made(self, context: VideoCodecContext) -> VideoCodecContext:  # noqa: ARG002 - none is made
        self.num_made += 1
        raise OSError("libcuda.so.1: cannot open shared object file")


class Wrong(Built):
    """Its pictures are another video's: every packet is decoded one late."""

    def made(self, context: VideoCodecContext) -> VideoCodecContext:
        decoder = super().made(context)
        late: list[Any] = []

        class Late(OnDevice):
            def decode(self, packet: Any) -> list[Any]:
                late.extend(decoder.decode(packet))
                return [late[0]] if packet is not None and late else []

        return cast("VideoCodecContext", Late(context))


@pytest.mark.parametrize(
    ("built", "pixel_format", "words"),
    [
        (Missing(), "yuv420p", "libcuda"),
        (Wrong(), "yuv420p", "levels off|pictures, got"),
        (Built(), "cuda", "expected pictures in cuda, got yuv420p"),
    ],
)
def test_a_device_that_is_not_right_is_not_used_and_said_once(
    tmp_path: Path, built: Built, pixel_format: str, words: str
) -> None:
    observer = Recorder()
    device = Nvdec(most=4, observer=observer, made=built.made, pixel_format=pixel_format)
    path = clip(tmp_path / "a.mkv", seconds=2, gop_s=1)
    with structlog.testing.capture_logs() as logged:
        first, second = (read(path, device) for _ in range(2))
    assert same(first, second)
    assert same(first, read(path, None))
    (said,) = logged
    assert said["event"] == "gpu_decoding_off"
    assert pytest.approx(0) == observer.total(GPU_DECODING_FAILURES)
    assert any(word in said["detail"] for word in words.split("|"))
    assert built.num_made == 1


def test_a_decoder_for_which_there_is_no_room_is_a_failure(tmp_path: Path) -> None:
    built, observer = Built(), Recorder()
    device = built.device(observer)
    path = clip(tmp_path / "a.mkv", seconds=2, gop_s=1)
    read(path, device)  # it is tried, and right

    def made(_context: VideoCodecContext) -> VideoCodecContext:
        raise BROKEN

    device._made = made
    assert same(read(path, device, observer=observer), read(path, None))
    assert observer.total(GPU_DECODING_FAILURES, camera="yard") == 1
    assert device.num_lent == 0


class Driver:
    """A CUDA driver that notes what it is asked for, and by which number."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        def noted(*given: object) -> int:
            self.asked.append((name, given[-1]))
            return 0

        return noted


@pytest.mark.parametrize("gpu", [0, 1])
def test_decoders_are_on_the_gpu_of_that_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: int
) -> None:
    driver, devices = Driver(), list[tuple[object, ...]]()

    def accelerated(*given: object, **_: object) -> None:  # none: the processor decodes
        devices.append(given)

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: driver)
    monkeypatch.setattr(nvdec, "HWAccel", accelerated)
    device = Nvdec(most=1, gpu=gpu, pixel_format="yuv420p")
    with opened(clip(tmp_path / "a.mkv", seconds=1, gop_s=1)) as video:
        assert device.lend("yard", video.codec_context) is not None
    assert devices == [("cuda", gpu)] * 2  # one was tried
    assert driver.asked.count(("cuDeviceGet", gpu)) == 2


@pytest.mark.gpu
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("gop_s", [1, 4])
def test_nvdec_gives_the_pictures_that_a_processor_gives(
    tmp_path: Path, codec: str, gop_s: int
) -> None:
    import torch

    used = torch.ones(1, device="cuda")  # PyTorch has its context first, as in the worker
    path = clip(tmp_path / "a.mkv", seconds=8, gop_s=gop_s, codec=codec, size_px=(360, 640))
    observer = Recorder()
    device = Nvdec(most=4, observer=observer)
    expected = read(path, None)
    with structlog.testing.capture_logs() as logged:
        pictures = read(path, device)
    assert [one["event"] for one in logged] == ["gpu_decoding_on"]
    assert [one.pts_s for one in pictures] == [one.pts_s for one in expected]
    for one, other in zip(pictures, expected, strict=True):
        off_levels = one.pixels.astype(np.float32) - other.pixels
        assert float(np.abs(off_levels).mean()) < 0.5
    assert observer.total(GPU_DECODING_FAILURES) == 0
    assert used.item() == 1.0
