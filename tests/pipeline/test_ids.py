from itertools import product

from pipeline.ids import event_id, message_id
from pipeline.types import RecordPlace, Tenure

HERE = RecordPlace("frames", 3, 17, Tenure("g", 1))
AGAIN = RecordPlace("frames", 3, 17, Tenure("g", 9))  # read anew, by whomever
ANSWER = "15c098e4-8377-5a7e-b794-d0e5ed6c83ab"
EVENT = "64e1beac17ee5505906eded0082b8a1b"


def test_what_is_said_again_of_a_record_has_the_same_id() -> None:
    for kind, phase in (("caption", ""), ("answer", ""), ("event", "start")):
        ids = {
            message_id(kind, "gate", record, question_id="fire", phase=phase)
            for record in (HERE, AGAIN)
        }
        assert len(ids) == 1
    assert event_id("gate", "fire", "Fire?", HERE) == event_id("gate", "fire", "Fire?", AGAIN)


def test_what_differs_in_anything_has_another_id() -> None:
    records = [HERE, RecordPlace("frames", 3, 18), RecordPlace("frames", 4, 17)]
    records.append(RecordPlace("others", 3, 17))
    told = list(product(("answer", "event"), ("gate", "yard"), records, ("a", "b"), ("", "end")))
    ids = {message_id(k, c, r, question_id=q, phase=p) for k, c, r, q, p in told}
    assert len(ids) == len(told)
    events = list(product(("gate", "yard"), ("a", "b"), ("Fire?", "Smoke?"), records))
    assert len({event_id(*one) for one in events}) == len(events)


def test_what_comes_another_way_comes_once() -> None:
    assert message_id("answer", "gate", None) != message_id("answer", "gate", None)
    assert event_id("gate", "fire", "Fire?", None) != event_id("gate", "fire", "Fire?", None)


def test_an_id_is_the_same_in_every_version() -> None:
    assert message_id("answer", "gate", HERE, question_id="fire") == ANSWER
    assert event_id("gate", "fire", "Fire?", HERE) == EVENT
