"""How a run goes, in a line now and then."""

from collections.abc import Callable, Iterable, Iterator

from model.training.loop import DIGITS, Event, Measured

REPORT_EVERY_S = 5.0


def narrated(events: Iterable[Event], *, what: str, now_s: Callable[[], float]) -> Iterator[str]:
    """Run the steps; yield a line every five seconds, one after the last and one for each measure.

    A line has the losses of its step as the file has them, and the mean since the line before.

    Args:
        events: each is taken when it is asked for.
        what: the run's name, at the head of each line.
        now_s: a clock that only goes forward.
    """
    shown_s = now_s()
    first_step, first_s = 0, 0.0
    losses: list[float] = []
    for event in events:
        if isinstance(event, Measured):
            found = ", ".join(f"{name} {value:.4g}" for name, value in event.values.items())
            when = f"after step {event.step}" if event.step else "before the first step"
            yield f"{what}: held out, {when}: {found}"
            continue
        at_s = now_s()
        if not first_step:  # the wait for its samples is no measure of the others
            first_step, first_s = event.step, at_s
        losses.append(event.loss)
        is_last = event.step == event.num_steps
        if at_s - shown_s < REPORT_EVERY_S and not is_last and event.step > first_step:
            continue
        parts = {"loss": event.loss, **event.parts}
        told = [f"{name} {round(value, DIGITS)}" for name, value in parts.items()]
        if len(losses) > 1:
            told.append(f"mean loss of {len(losses)} steps {sum(losses) / len(losses):.4f}")
        if event.step > first_step:
            each_s = (at_s - first_s) / (event.step - first_step)
            told.append(f"{each_s:.2f} s a step")
            told.append(f"{_time(each_s * (event.num_steps - event.step))} left")
        yield f"{what}: step {event.step} of {event.num_steps}, {', '.join(told)}"
        shown_s = at_s
        losses.clear()


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
