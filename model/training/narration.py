"""How a run goes, in a line now and then."""

from collections.abc import Callable, Iterable, Iterator

from model.training.loop import Progress

REPORT_EVERY_S = 5.0
SMOOTHING = 0.95


def narrated(steps: Iterable[Progress], *, what: str, now_s: Callable[[], float]) -> Iterator[str]:
    """Run the steps; yield a line every five seconds and one after the last step.

    Args:
        steps: each is taken when it is asked for.
        what: the run's name, at the head of each line.
        now_s: a clock that only goes forward.
    """
    began_s = shown_s = now_s()
    first = 0
    smooth: dict[str, float] = {}
    for done in steps:
        first = first or done.step
        for name, value in (("loss", done.loss), *done.parts.items()):
            smooth[name] = SMOOTHING * smooth.get(name, value) + (1 - SMOOTHING) * value
        at_s = now_s()
        if at_s - shown_s >= REPORT_EVERY_S or done.step == done.num_steps:
            each_s = (at_s - began_s) / (done.step - first + 1)
            left_s = each_s * (done.num_steps - done.step)
            told = ", ".join(f"{name} {value:.4f}" for name, value in smooth.items())
            yield (
                f"{what}: step {done.step} of {done.num_steps}, {told}, "
                f"{each_s:.2f} s a step, {left_s / 60:.1f} min left"
            )
            shown_s = at_s
