from pipeline.admission_backlog import AdmissionBacklog


def test_a_refused_camera_waits_and_says_why() -> None:
    room = AdmissionBacklog(retry_after_s=30.0)
    assert room.why("yard") is None
    assert not room.must_wait("yard", now_s=0.0)
    room.refuse("yard", "needs 12 MiB, 3 MiB left", now_s=0.0)
    assert room.why("yard") == "needs 12 MiB, 3 MiB left"
    assert room.must_wait("yard", now_s=29.0)
    assert not room.must_wait("yard", now_s=30.0)
    assert room.why("yard") is not None  # until it is let in
    room.leave("yard")
    assert room.why("yard") is None
