"""Questions about scenes: the answers are checked against what is seen, not against the quiz."""

from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from model.scenes import KINDS, Scene, Seen
from model.scenes.quiz import TASKS, Quiz, caption, quizzes, true_facts
from model.scenes.wording import stated_facts

scene_of = cache(Scene.from_seed)


def moments(seeds: range) -> list[tuple[Scene, float, float, np.random.Generator]]:
    """A scene, the moment of asking and the first frame's, per seed."""
    found = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        start_s = float(rng.integers(0, 12))
        t_s = start_s + float(rng.integers(5, 20))
        found.append((scene_of(seed), t_s, start_s, rng))
    return found


def asked(seeds: range, task: str, num: int) -> list[tuple[Scene, float, float, Quiz]]:
    return [
        (scene, t_s, start_s, quiz)
        for scene, t_s, start_s, rng in moments(seeds)
        for quiz in quizzes(scene, t_s, start_s=start_s, rng=rng, num=num, tasks=(task,))
    ]


def in_view(scene: Scene, t_s: float) -> list[Seen]:
    return [seen for seen in scene.seen(t_s) if seen.visible >= 0.5]


def known(scene: Scene, t_s: float, question: str) -> bool | None:
    """The answer to a question about the present, from the truth alone; None for another kind."""
    words = set(question.lower().rstrip("?").split())
    state = scene.state(t_s)
    if {"has", "did"} & words:
        return None
    if "gate" in words:
        return (state.gate_open > 0.5) == ("open" in words)
    if words & {"lights", "light"}:
        return state.lights_on == ("on" in words)
    if words & {"smoke", "fire", "burning"}:
        smoke = "smoke" in words and state.smoke > 0.5
        return smoke or (bool(words & {"fire", "burning"}) and state.fire > 0.5)
    if "anybody" in words:
        return any(seen.kind == "person" for seen in in_view(scene, t_s))
    for kind in KINDS:
        if kind in words:
            colours = words & {"red", "blue", "green", "yellow", "orange", "purple"} or words & {
                "white", "black", "brown", "grey",
            }  # fmt: skip
            return any(
                seen.kind == kind and (not colours or seen.colour in colours)
                for seen in in_view(scene, t_s)
            )
    return any(seen.is_moving for seen in in_view(scene, t_s))


def test_yes_and_no_are_true() -> None:
    for scene, t_s, start_s, quiz in asked(range(120), "yes_no", 4):
        answer = known(scene, t_s, quiz.question)
        if answer is not None:
            assert quiz.answer == ("yes" if answer else "no"), (scene.seed, t_s, quiz)
            continue
        # it has happened: something changed between two of the frames
        kind = next(word for word in (*KINDS, "gate") if word in quiz.question)
        happened = _happened(scene, start_s, t_s, kind, quiz.topic)
        assert quiz.answer == ("yes" if happened else "no"), (scene.seed, start_s, t_s, quiz)


def _happened(scene: Scene, start_s: float, t_s: float, kind: str, topic: str) -> bool:
    times = np.arange(start_s, t_s + 0.5)
    if kind == "gate":
        states = [scene.state(time).gate_open > 0.5 for time in times]
        pair = (False, True) if topic.endswith("opened") else (True, False)
        return pair in pairwise(states)
    views = [
        {seen.subject_id for seen in in_view(scene, time) if seen.kind == kind} for time in times
    ]
    pairs = pairwise(views)
    if topic.endswith("left"):
        return any(before - after for before, after in pairs)
    return any(after - before for before, after in pairs)


def test_half_of_the_answers_are_yes_whatever_is_asked() -> None:
    answers: Counter[str] = Counter()
    yes: Counter[str] = Counter()
    for _, _, _, quiz in asked(range(300), "yes_no", 5):
        answers[quiz.topic] += 1
        yes[quiz.topic] += quiz.answer == "yes"
    assert 0.47 < yes.total() / answers.total() < 0.53
    for topic, num in answers.items():
        # three deviations of a fair coin, wider as the questions of one scene hang together
        spread = 3.0 * 0.5 * np.sqrt(2.0 / num)
        assert abs(yes[topic] / num - 0.5) < 0.05 + spread, (topic, yes[topic], num)


def test_counts_are_true_and_spread() -> None:
    numbers: Counter[int] = Counter()
    for scene, t_s, _, quiz in asked(range(300), "count", 2):
        kinds = [
            kind for kind, noun in (("person", "people"), ("car", "cars")) if noun in quiz.question
        ]
        number = sum(seen.kind in kinds for seen in in_view(scene, t_s))
        assert quiz.answer == str(number)
        numbers[number] += 1
    assert set(numbers) == {0, 1, 2, 3, 4}
    assert min(numbers.values()) > 0.08 * numbers.total()


def test_choices_hold_the_answer_once_and_it_is_true() -> None:
    topics = set()
    for scene, t_s, start_s, quiz in asked(range(120), "choice", 3):
        topics.add(quiz.topic)
        assert quiz.options.count(quiz.answer) == 1
        assert len(set(quiz.options)) == len(quiz.options) >= 2
        here = in_view(scene, t_s)
        if quiz.topic == "kind":
            assert {seen.kind for seen in here} & set(quiz.options) == {quiz.answer}
        elif quiz.topic == "colour":
            kind = next(kind for kind in KINDS if kind in quiz.question)
            assert [seen.colour for seen in here if seen.kind == kind] == [quiz.answer]
        else:
            gone = {action for _, _, action in true_facts(scene, t_s, start_s=start_s)}
            assert f"leaves to the {quiz.answer}" in gone
    assert topics == {"kind", "colour", "way"}


def test_where_and_who_are_true() -> None:
    for scene, t_s, _, quiz in asked(range(120), "text", 3):
        here = in_view(scene, t_s)
        if quiz.topic == "who":
            assert quiz.answer.count("a ") + quiz.answer.count("an ") >= min(1, len(here))
            assert all(seen.colour in quiz.answer for seen in here)
        elif quiz.topic == "where":
            third = {"on the left": 0, "in the middle": 1, "on the right": 2}[quiz.answer]
            middles = [
                (seen.box[0] + seen.box[2]) / 2 for seen in here if seen.kind in quiz.question
            ]
            assert any(int(middle * 3 / 308) == third for middle in middles)


def test_spans_are_those_of_the_frames() -> None:
    for scene, t_s, start_s, quiz in asked(range(120), "grounding", 3):
        first, last = (float(edge) for edge in quiz.answer.removesuffix(" s").split("-"))
        times = np.arange(start_s, t_s + 0.5)
        held = [_holds(scene, time, quiz) for time in times]
        expected = [start_s + first <= time <= start_s + last for time in times]
        assert held == expected, (scene.seed, start_s, t_s, quiz)


def _holds(scene: Scene, t_s: float, quiz: Quiz) -> bool:
    state = scene.state(t_s)
    if quiz.topic in ("when in view", "when still"):
        still = quiz.topic == "when still"
        words = quiz.question.rstrip("?").split()
        kind = next(kind for kind in KINDS if kind in words)
        alike = [seen for seen in in_view(scene, t_s) if seen.kind == kind]
        named = [seen for seen in alike if seen.colour in words]
        ids = {
            seen.subject_id
            for ago in (-0.3, 0.0, 0.3)
            for seen in scene.seen(t_s + ago)
            if seen.is_moving
        }
        coloured = f"{kind} in" in quiz.question.replace("in view", "") or words[3] != kind
        return any(
            not still or seen.subject_id not in ids for seen in (named if coloured else alike)
        )
    levels = {"smoke": state.smoke, "fire": state.fire, "gate": state.gate_open}
    name = quiz.topic.removeprefix("when ")
    return state.lights_on if name == "lights" else levels[name] > 0.5


def test_a_caption_states_the_facts_and_nothing_else() -> None:
    texts = set()
    for scene, t_s, start_s, rng in moments(range(300)):
        text = caption(scene, t_s, start_s=start_s, rng=rng)
        assert stated_facts(text) == true_facts(scene, t_s, start_s=start_s), text
        assert text.count(".") <= 2
        texts.add(text)
    assert len(texts) > 200


def test_true_facts_agree_with_the_timeline() -> None:
    for scene, t_s, start_s, _ in moments(range(80)):
        told = {(fact.kind, fact.colour, fact.action) for fact in scene.timeline}
        for kind, colour, action in true_facts(scene, t_s, start_s=start_s):
            if action != "is there":
                assert (kind, colour, action) in told


def test_every_task_is_asked_and_no_question_twice() -> None:
    tasks: Counter[str] = Counter()
    for scene, t_s, start_s, rng in moments(range(40)):
        found = quizzes(scene, t_s, start_s=start_s, rng=rng, num=6)
        tasks.update(quiz.task for quiz in found)
        assert len({quiz.question for quiz in found}) == len(found)
    assert set(tasks) == set(TASKS)


def test_the_same_generator_asks_the_same() -> None:
    scene = Scene.from_seed(5)
    one, again = (
        quizzes(scene, 12.0, start_s=2.0, rng=np.random.default_rng(1), num=8) for _ in range(2)
    )
    assert one == again


def test_bad_input_is_refused() -> None:
    scene, rng = Scene.from_seed(1), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"expected tasks of yes_no, .*, came riddle"):
        quizzes(scene, 9.0, start_s=0.0, rng=rng, num=1, tasks=("riddle",))
    with pytest.raises(ValueError, match=r"at least start_s 9\.0, came 2\.0"):
        quizzes(scene, 2.0, start_s=9.0, rng=rng, num=1)
