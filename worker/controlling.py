"""Takes commands from Redis, and keeps there what they changed; at the start, goes by that."""

import random
from collections.abc import Callable, Mapping
from threading import Event

import structlog

from model.errors import InputError
from model.types import Question
from pipeline.clock import Clock
from pipeline.control import Control
from pipeline.errors import PublishError
from pipeline.publishers.redis_control import BATCH, FORMAT, Held, RedisControl
from pipeline.status import StatusBoard
from pipeline.visits import Visits
from worker.orders import (
    Command,
    CommandError,
    Order,
    asked_of,
    in_effect,
    judged,
    order_of,
    questions_of,
    read_command,
    settings_of,
)
from worker.settings import Settings
from worker.visiting import keep_visiting

START_S = 10.0  # for Redis before the first answer; then the worker goes by its environment
LOOK_EVERY_S = 5.0  # at what Redis holds; also whether it was emptied
WAIT_S = 1.0  # for the next command
VERDICT_S = 20.0  # for the inference thread; a tick may take long
MAX_AGE_S = 60.0  # of a command; one that waited for longer may not be meant any more
PER_S = 2.0  # commands that are taken, in the long run
BURST = 20  # at once, after a pause

log = structlog.get_logger("vigil")


class Controlling:
    """What commands have changed, as this worker knows it, over one connection after the other.

    Every worker takes every command, so that whichever gets a camera next goes by it already. What
    Redis holds wins over what a worker remembers; a Redis that was emptied is given that back. A
    flood is refused by rate (`too_many`). Not guaranteed: that what was changed outlives a Redis
    that is emptied while no worker runs.

    Attributes:
        control: is given what is in effect.
    """

    def __init__(
        self,
        settings: Settings,
        control: Control,
        *,
        status: StatusBoard,
        visits: Visits,
        clock: Clock,
    ) -> None:
        """Begin with the environment.

        Args:
            settings: the environment's.
            control: given what is in effect.
            status: knows which cameras this worker has.
            visits: told what came of each command.
            clock: for pauses, and for how many commands may come.
        """
        self._settings = settings
        self.control = control
        self._status = status
        self._visits = visits
        self._clock = clock
        self._orders: dict[str, Order] = {}
        self._refused: dict[str, str] = {}  # what the model cannot be asked, as it is kept
        self._after: str | None = None  # the id of the last command; None before it is known
        self._looked_s = -LOOK_EVERY_S
        self._format = FORMAT
        self._allowance, self._allowed_s = float(BURST), clock.monotonic_s()

    def connection(self) -> RedisControl:
        """Make the next connection."""
        redis = self._settings.redis
        worker_id = self._settings.worker_id
        return RedisControl(redis.address, prefix=redis.prefix, worker_id=worker_id)

    # -- the inference thread, before its first tick ---------------------------------------------

    def begin(self, check: Callable[[Question], object]) -> None:
        """Go by what Redis holds; wait for it no longer than `START_S`, and tell of that.

        Args:
            check: the model's own checks.
        """
        until_s = self._clock.monotonic_s() + START_S
        while True:
            connection = self.connection()
            try:
                self._take_up(connection.held(), check=check)
            except PublishError as error:
                reason = error.reason
            else:
                return
            finally:
                connection.close()
            if self._clock.monotonic_s() >= until_s:
                break
            self._clock.wait(0.5, Event())
        log.warning(
            "control_unknown",
            reason=reason,
            detail="Redis could not be asked what commands have changed: the environment's "
            "questions alone are asked until it answers",
        )

    # -- a thread of its own ---------------------------------------------------------------------

    def serve(self, stop: Event) -> None:
        """Take commands until told to stop."""
        while not self.control.heeded.wait(0.2):
            if stop.is_set():
                return
        keep_visiting(
            lambda: _Served(self, self.connection()),
            stop,
            what="control",
            count=self._visits.count,
            clock=self._clock,
            rng=random.Random(),  # noqa: S311 (jitter needs no secrecy)
        )

    def look(self, connection: RedisControl, stop: Event) -> None:
        """Take the commands that have come; wait for the first of them.

        Raises:
            PublishError: Redis does not answer, or refuses.
        """
        if self._clock.monotonic_s() >= self._looked_s + LOOK_EVERY_S:
            self._sync(connection)
        entries = connection.read(self._after or "0-0", wait_s=WAIT_S)
        if entries:
            self._sync(connection)
        for command_id, fields in entries:
            if stop.is_set():
                return
            self._obey(connection, command_id, fields)
            self._after = command_id
        if len(entries) == BATCH:  # a flood: the others of this process go first
            self._clock.wait(0.1, stop)

    def _sync(self, connection: RedisControl) -> None:
        """Go by what Redis holds, or give it back what it held."""
        held = connection.held()
        self._looked_s = self._clock.monotonic_s()
        if not held.format and self._orders:
            for name, order in self._orders.items():
                connection.keep(name, order.text(), at=order.at)
            self._after = "0-0"  # its commands may count anew
            held = connection.held()
            log.warning("control_restored", items=len(self._orders))
        self._take_up(held, check=self._checked)

    def _checked(self, question: Question) -> None:
        if (why := self.control.why_not([question], timeout_s=VERDICT_S)) is None:
            raise PublishError("timeout", "the model did not say whether it can be asked that")
        if why:
            raise InputError(why)

    def _take_up(self, held: Held, *, check: Callable[[Question], object]) -> None:
        """Go by what is held, but for what cannot be read or asked."""
        self._format = held.format or FORMAT
        if self._after is None:
            self._after = held.taken
        if self._format != FORMAT:
            return
        known = {name: one.text() for name, one in self._orders.items()} | self._refused
        if known == held.items:
            return
        orders: dict[str, Order] = {}
        for name, text in held.items.items():
            try:
                orders[name] = Order.read(text)
            except ValueError as error:
                self._tell_refused(name, text, str(error))
        new = {name: one for name, one in orders.items() if self._orders.get(name) != one}
        _, refused = judged(new, self._settings, check=check)
        for name, why in refused:
            self._tell_refused(name, held.items[name], why)
            del orders[name]
        self._refused = {name: held.items[name] for name in held.items.keys() - orders.keys()}
        self._go_by(orders)

    def _tell_refused(self, name: str, text: str, why: str) -> None:
        if self._refused.get(name) != text:
            log.warning("control_passed_over", item=name, detail=why)

    def _go_by(self, orders: dict[str, Order]) -> None:
        self._orders = orders
        self.control.put(in_effect(self._settings, orders))

    def _obey(self, connection: RedisControl, command_id: str, fields: Mapping[str, str]) -> None:
        """Do what a command says, and say so; or say why not."""
        is_alone = True
        try:
            self._refuse_flood(command_id)
            command = read_command(fields)
            cameras = connection.cameras()
            is_mine = self._is_mine(command.camera_id, cameras)
            self._apply(connection, command, command_id=command_id, cameras=cameras)
            is_alone = False
            told = self._told(command)
        except CommandError as error:
            told, is_mine = {"refused": error.reason, "detail": error.detail}, True
            log.info("command_refused", command=command_id, reason=error.reason)
            self._visits.count("command", error.reason)
        else:
            about = {"question": command.question_id} if command.question_id else {}
            about |= {"camera": command.camera_id} if command.camera_id else {}
            log.info("command_done", command=command_id, do=command.do, **about)
            self._visits.count("command", "done")
        if is_mine:
            connection.acknowledge(command_id, told, is_alone=is_alone)

    def _is_mine(self, camera_id: str, cameras: Mapping[str, bool]) -> bool:
        """Say whether it is this worker that tells of a camera; of a question all do.

        Raises:
            CommandError: no worker that runs has the camera.
        """
        if not camera_id or self._status.state(camera_id) is not None:
            return True
        if not cameras.get(camera_id):
            known = sorted({*self._cameras(), *(one for one, lives in cameras.items() if lives)})
            words = f"camera: expected one of {', '.join(known[:20]) or 'none'}"
            raise CommandError("unknown_camera", words)
        return False

    def _refuse_flood(self, command_id: str) -> None:
        """Refuse what comes too fast, or came long ago.

        Raises:
            CommandError: it does.
        """
        now_s = self._clock.monotonic_s()
        earned = (now_s - self._allowed_s) * PER_S
        self._allowed_s, self._allowance = now_s, min(float(BURST), self._allowance + earned)
        age_s = self._clock.now().timestamp() - int(command_id.partition("-")[0]) / 1000
        if age_s > MAX_AGE_S:
            words = f"expected a command of the last {MAX_AGE_S:g} s, got one of {age_s:.0f} s ago"
            raise CommandError("too_late", words)
        if self._allowance < 1:
            raise CommandError("too_many", f"expected at most {PER_S:g} commands a second")
        self._allowance -= 1
        if self._format != FORMAT:
            words = f"expected what is kept in format {FORMAT}, got {self._format[:20]!r}"
            raise CommandError("other_version", words)

    def _apply(
        self,
        connection: RedisControl,
        command: Command,
        *,
        command_id: str,
        cameras: Mapping[str, bool],
    ) -> None:
        """Put in effect what a command says, once the model can be asked that and Redis keeps it.

        Raises:
            CommandError: it changes nothing.
            PublishError: Redis does not answer, or refuses to keep it.
        """
        if command.do == "refresh":
            self.control.refresh(command.camera_id)
            return
        name = command.item
        order = order_of(command, self._settings, self._orders, at=command_id, cameras=cameras)
        orders = {**self._orders, name: order}
        after = in_effect(self._settings, orders)
        if command.do in ("put", "change"):
            asked = questions_of(after.questions, name)
            why = self.control.why_not(asked, timeout_s=VERDICT_S)
            if why is None:
                words = f"expected the model to look at it within {VERDICT_S:g} s"
                raise CommandError("too_busy", words)
            if why:
                raise CommandError("malformed", why.replace("text:", "ask:", 1))
        held = connection.keep(name, "" if order.is_nothing else order.text(), at=command_id)
        if held:  # another worker has been there: all go by the same
            try:
                orders[name] = Order.read(held)
            except ValueError as error:
                raise CommandError("other_version", str(error)) from None
        if orders[name].is_nothing:
            del orders[name]
        self._go_by(orders)

    def _told(self, command: Command) -> dict[str, object]:
        """Return what is in effect after a command."""
        about: dict[str, object] = {"do": command.do}
        if command.camera_id:
            paused = self.control.is_paused(command.camera_id)
            return {**about, "camera": command.camera_id, "paused": paused}
        question_id = command.question_id
        asked = asked_of(self._settings, self._orders).get(question_id)
        order = self._orders.get(command.item, Order(""))
        return {
            **about,
            "question": question_id,
            "settings": None if asked is None else settings_of(asked),
            "changed": sorted(order.settings),
            "paused": order.is_paused,
            "cameras": [
                one
                for one in self._cameras()
                if asked is not None and (not asked.cameras or one in asked.cameras)
            ],
        }

    def _cameras(self) -> list[str]:
        return sorted(self._status.said())


class _Served:
    """One connection, as `keep_visiting` runs it."""

    def __init__(self, controlling: Controlling, connection: RedisControl) -> None:
        self._controlling = controlling
        self._connection = connection

    def run(self, stop: Event, *, works: Callable[[], object]) -> None:
        while not stop.is_set():
            self._controlling.look(self._connection, stop)
            works()

    def close(self) -> None:
        self._connection.close()
