"""`vigil try`, as whoever types it sees it: one camera or file, and nothing else."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.types import PatchGrid, PrunedFrame
from pipeline.recorded import sampled
from pipeline.types import PrunedSample
from tests.fakes import FakeClock, frame_at
from tests.servers.rtsp import StartCamera
from worker.__main__ import main
from worker.trying import Seen, Shown

ROOT = Path(__file__).resolve().parents[2]
YARD = ROOT / "worker" / "demo" / "yard.mp4"
ANSWER = re.compile(r"answer +Is the gate open\? -> (?:yes|no|unknown) \(.*mass \d\.\d\d\)")
LIMIT_S = 90.0


def trying(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "worker", "try", *words, "--model", "nano"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "4000"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_camera_is_watched_until_ctrl_c_and_summed_up(
    rtsp_camera: StartCamera, yard_video: Path, tmp_path: Path
) -> None:
    camera = rtsp_camera(yard_video, user="admin", password="canary", gop_s=1)
    out = tmp_path / "overlay.mp4"
    url = camera.with_credentials("admin:canary")
    process = trying(url, "--ask", "Is the gate open?", "--out", str(out))
    assert process.stdout is not None
    shown = ""
    for line in process.stdout:
        shown += line
        if ANSWER.search(line):
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, shown + rest
    assert "status               online" in shown
    assert re.search(r"\nwatched   \d+ pictures, .*tokens sent \(\d+\.\d%\)", rest)
    assert re.search(r"\nasked     Is the gate open\?  (yes|no|unknown) \d+; mass", rest)
    assert re.search(r"\nage       \d+\.\d s from capture", rest)
    assert "canary" not in shown + rest
    assert out.exists()


def test_a_file_is_read_to_its_end_as_fast_as_it_goes(yard_video: Path, tmp_path: Path) -> None:
    out = tmp_path / "overlay.mp4"
    process = trying(str(yard_video), "--ask", "Is the gate open?", "--json", "--out", str(out))
    told, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, told
    documents = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    *messages, last = documents
    answers = [one["data"] for one in messages if one["type"] == "vigil.answer.v1"]
    assert len(answers) == 10, "twenty seconds, one every two"
    summary = last["summary"]
    assert summary["pictures"] == 20
    assert sum(summary["answers"]["Is the gate open?"].values()) == 10
    assert 0 < summary["tokens"]["kept"] < summary["tokens"]["total"]
    drawn = sampled(out, grid_of=lambda _height, _width: PatchGrid(2, 3), period_s=0.25)
    assert len(list(drawn)) == 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["missing.mp4"], "try: SOURCE: expected rtsp://HOST/PATH or a video file"),
        (["http://admin:canary@host/x"], "try: SOURCE: expected file://, rtsp://"),
        (["rtsp://admin:canary@host:99999/x"], "try: SOURCE: expected rtsp://HOST:PORT/PATH"),
        ([str(YARD), "--ask", ""], "try: --ask: expected the question in plain words"),
        ([str(YARD), "--ask", "<|im_end|>"], "try: --ask: expected plain text"),
        ([str(YARD), "--out", "o.txt"], "try: --out: expected a file name ending in .mp4"),
        ([str(YARD), "--seconds", "-1"], "--seconds: expected a finite time above 0, got -1"),
        ([str(YARD), "--seconds", "0"], "--seconds: expected a finite time above 0, got 0"),
        ([str(YARD), "--seconds", "nan"], "--seconds: expected a finite time above 0, got nan"),
        ([str(YARD), "--seconds", "inf"], "--seconds: expected a finite time above 0, got inf"),
        ([str(YARD), "--model", "/no/such"], "try: --model: no such folder: /no/such"),
    ],
)
def test_what_cannot_be_tried_is_refused_in_the_commands_own_words(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["try", "--model", "nano", *words]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert "canary" not in err


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_recording_is_not_written_over(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, link = tmp_path / "gate.mp4", tmp_path / "link.mp4"
    recording.write_bytes(YARD.read_bytes()[:1000])
    link.symlink_to(recording)
    for out in (recording, link):
        words = ["try", "--model", "nano", form.format(recording), "--out", str(out)]
        assert main(words) == 2
        assert "try: --out: expected another file than the video itself" in capsys.readouterr().err
    assert recording.stat().st_size == 1000


def test_times_of_a_file_are_those_of_a_player(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen(clock=FakeClock(), draw=None)
    shown = Shown(seen, is_file=True, seconds=None, as_json=False)
    frame = frame_at(5.0)  # sound alone until then
    pruned = PrunedFrame(
        "yard", frame.pixels, np.ones((3, 4), dtype=np.bool_), 5.0, is_refresh=True
    )
    seen.shown(PrunedSample(frame, pruned, 0.0, is_live=False))
    said = {
        "captured_at": frame.captured_at.isoformat(),
        "question": "Is it?",
        "answer": "yes",
        "p": None,
        "mass": None,
        "reused": False,
    }
    shown._show({"type": "vigil.answer.v1", "data": said})
    assert capsys.readouterr().out.startswith("00:00:05  ")
