"""The second half of a frame's way, from the lanes to the outbox. The first: `pipeline.intake`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from math import inf
from threading import Event

from model.errors import AdmissionError, DeviceMemoryError
from model.kinds import CAPTION
from model.kinds.base import Doubt
from model.types import Answer
from pipeline.admission_backlog import AdmissionBacklog
from pipeline.asks import OneOff
from pipeline.camera_session import Ask, CameraSession
from pipeline.caption_gate import When
from pipeline.clock import Clock
from pipeline.control import Control, obey
from pipeline.counted import Timed, answer_given, frame_shown, reply_made
from pipeline.engine import Engine
from pipeline.event_machines import EventMachines
from pipeline.evidence import Evidence
from pipeline.lane import Lanes
from pipeline.load import Load
from pipeline.looking_back import LookingBack
from pipeline.messages import Message, Provenance
from pipeline.metrics import FRAMES_REFUSED
from pipeline.observer import Observer
from pipeline.once import answered_once
from pipeline.questions import DEFAULT_DOUBT, Schedule, StandingQuestion
from pipeline.rebuilding import LOOK_S, Rebuilding
from pipeline.replies import TickReplies, blank_provenance, provenance_of
from pipeline.settling import Replies, Settling
from pipeline.speaking import LAST_WORDS_S, Speaking
from pipeline.status import StatusBoard
from pipeline.takeover import Takeover
from pipeline.tenures import Tenures
from pipeline.ticks import Ticks
from pipeline.types import PrunedSample, Settle
from pipeline.visits import Visits

TURN_S = 0.01  # for what is being said where no frame waits, as one may come at any time
IDLE_S = 0.5  # how long the loop sleeps without a frame before it looks at `stop` again


class Runner:
    """Grow contexts by what the cameras sent, answer what is due, hand the replies over.

    It goes by ticks: one look at all cameras whose frames have come since the last one, one packed
    append, one packed ask. A frame the model has no memory for counts as not seen, and its camera's
    next one is a refresh; a question it has none for is owed, and answered with the next frame.
    Of a camera whose pictures say nothing now the model is not asked: the answers are `unknown`.
    """

    def __init__(  # noqa: PLR0913 - the one place where all stages meet
        self,
        lanes: Lanes,
        engine: Engine,
        *,
        questions: Sequence[StandingQuestion],
        replies: Replies,
        settle: Settle,
        clock: Clock,
        observer: Observer,
        machines: EventMachines,
        status: StatusBoard,
        ticks: Ticks,
        load: Load,
        admission_backlog: AdmissionBacklog,
        tenures: Tenures,
        rebuilding: Rebuilding,
        forget_after_s: float,
        visits: Visits | None = None,
        evidence: Evidence | None = None,
        doubt: Doubt = DEFAULT_DOUBT,
        caption_when: When = "periodic",
        control: Control | None = None,
    ) -> None:
        """Begin with no camera; each comes with its first frame.

        Args:
            lanes: where frames come from.
            engine: the model.
            questions: standing questions, the caption among them.
            replies: the outbox.
            settle: told of every frame whose replies have arrived.
            clock: for inference times and ticks.
            observer: told of everything that is counted.
            machines: make events of answers.
            status: says which cameras' pictures say nothing now.
            ticks: when to look.
            load: what to give up when that is too slow; answers later than it allows are counted.
            admission_backlog: for cameras the engine has no room for.
            tenures: which cameras a group has given to this worker.
            rebuilding: rebuilds windows of cameras that come from elsewhere.
            forget_after_s: a camera without a frame for so long frees what the engine holds of it.
            visits: told of every frame that the model has seen, and has questions asked once.
            evidence: told of the same, and has the pictures of events; None for none.
            doubt: when the answers to those are published as `unknown`.
            caption_when: what makes a caption due.
            control: what is asked instead, and which cameras are paused.
        """
        self._lanes = lanes
        self._engine = engine
        self._control = control or Control(questions)
        self._replies = replies
        self._settle = settle
        self._settling = Settling(settle, replies)
        self._tenures = tenures
        self._takeover = Takeover(
            tenures,
            machines=machines,
            session_of=self._camera,
            leave=self._leave,
            replies=replies,
            status=status,
            observer=observer,
        )
        self._clock = clock
        self._observer = observer
        self._timed = Timed(observer, clock)
        self._speaking = Speaking(engine, clock=clock, timed=self._timed, owe=self._owe)
        self._machines = machines
        self._status = status
        self._ticks = ticks
        self._load = load
        self._looking_back = LookingBack(
            lanes, engine, speaking=self._speaking, load=load, ticks=ticks, observer=observer
        )
        self._admission_backlog = admission_backlog
        self._forget_after_s = forget_after_s
        self._visits = visits or Visits(clock=clock)
        self._evidence = evidence
        self._doubt = doubt
        self._caption_when = caption_when
        self._cameras: dict[str, CameraSession] = {}
        self._rebuilding = rebuilding
        rebuilding.rebuilt = lambda camera_id, shown: self._camera(camera_id).rebuilt(shown)

    def run(self, stop: Event, *, beat: Callable[[], None]) -> None:
        """Go from tick to tick until `stop`; call `beat` after each."""
        while not stop.is_set():
            is_more = self._rebuilding.is_pending or self._settling.is_pending
            look_s = LOOK_S if is_more else IDLE_S
            first = self._lanes.wait(0.0 if self._speaking.is_going else look_s)
            if first is None:  # nobody waits for the model
                self._rebuilding.work()
                if self._speaking.is_going:
                    self._say(self._now_s() + TURN_S)
                    beat()
                    continue
            elif first.is_live:  # a source that is held back loses no time
                due_s, now_s = self._ticks.due_s(first.arrived_s), self._now_s()
                self._rebuilding.work((due_s + now_s) / 2 if self._speaking.is_going else due_s)
                self._say(due_s)
                self._clock.wait(due_s - self._now_s(), stop)
            self.step()
            beat()
        self._rebuilding.close()
        self._say(inf, at_most_s=self._now_s() + LAST_WORDS_S)
        self._reply(())  # a file may have ended since

    def step(self) -> int:
        """Take the waiting frames through to the outbox; return how many there were."""
        # 0. cameras that come from another worker, and that go
        self._takeover.look()
        if self._control.is_new:
            self._say(inf)  # about the questions as they were
        if obey(
            self._control,
            self._engine,
            machines=self._machines,
            lanes=self._lanes,
            cameras=self._cameras,
        ):
            self._reply(())  # what has ended by it, before what begins
        begun_s = self._now_s()
        # 1. take: from here on the pruner counts these frames as seen by the model
        taken = self._lanes.take(self._ticks.max_frames(begun_s))
        sent = [one for one in taken if self._is_new(one)]
        # 2. grow the contexts by what changed, where there is room
        seen = self._append([one for one in sent if self._has_room(one)])
        # 3. answer what is due; where its context is the same, to the token, the answer stands;
        # of a camera whose pictures say nothing now, nothing is asked
        answers = self._speaking.ask([ask for one in seen for ask in self._due(one)])
        # 4. replies and event states into the outbox, together; what is said word by word follows
        # between the ticks, where nobody is kept waiting by it
        self._reply(answers)
        self._say(-inf if all(one.is_live for one in sent) else inf)
        # 5. once these have arrived, and no sooner, may a broker forget the records
        frames, tickets = [one.frame for one in taken], self._speaking.tickets
        self._settling.add(frames, row=self._replies.last_row, tickets=tickets)
        # 6. look back: was that fast enough, and who is gone?
        self._looking_back.at(sent, begun_s=begun_s, ended_s=self._now_s())
        self._forget_silent()
        # 7. in what is left of the tick, a question that somebody asks once
        is_late = self._now_s() - begun_s > self._ticks.tick_s
        self._visits.answer_one(self._ask_once, is_late=is_late)
        return len(taken)

    def _is_new(self, sent: PrunedSample) -> bool:
        """Say whether a frame is to be shown: not of a camera that is gone or paused, nor again.

        What is not shown the pruner must not take for seen: the next frame is a refresh.
        """
        camera_id = sent.frame.camera_id
        is_here = not sent.frame.has_moved and not self._control.is_paused(camera_id)
        if is_here and not self._camera(camera_id).has_seen(sent):
            return True
        self._lanes.reset(camera_id)
        return False

    def _leave(self, camera_id: str) -> None:
        """Forget a camera that another worker has, or had until now."""
        self._release(camera_id)
        self._lanes.reset(camera_id)
        self._cameras.pop(camera_id, None)

    def _release(self, camera_id: str) -> None:
        self._rebuilding.forget(camera_id)
        self._visits.forget(camera_id)
        self._speaking.forget(camera_id)
        if self._evidence is not None:
            self._evidence.forget(camera_id)
        self._engine.remove(camera_id)
        self._ticks.remove(camera_id)
        self._admission_backlog.leave(camera_id)

    def _has_room(self, sent: PrunedSample) -> bool:
        """Say whether the engine takes a frame; ask for room where its camera is new to it."""
        frame, camera = sent.frame, self._camera(sent.frame.camera_id)
        now_s = camera.seen_s = self._now_s()
        if camera.grid == frame.grid:
            return True
        if not self._admission_backlog.must_wait(frame.camera_id, now_s=now_s):
            try:
                self._engine.admit(frame.camera_id, frame.grid)
            except AdmissionError as error:
                if self._rebuilding.give_way():
                    return self._has_room(sent)
                self._admission_backlog.refuse(frame.camera_id, str(error), now_s=now_s)
            else:
                self._admission_backlog.leave(frame.camera_id)
                camera.grid = frame.grid
                return True
        self._not_seen(sent, "no_room")
        camera.told = self._blank(frame.camera_id, frame.captured_at)
        return False

    def _append(self, sent: Sequence[PrunedSample]) -> Sequence[PrunedSample]:
        """Show frames to the model; return those it has seen: without memory, none with news."""
        try:
            if sent:
                self._timed("append", lambda: self._engine.append([one.pruned for one in sent]))
        except (AdmissionError, DeviceMemoryError):
            self._rebuilding.give_way()
            new = [one for one in sent if one.pruned.has_news]
            self._ticks.narrow(len(new) or len(sent), self._now_s())
            for one in new:
                self._not_seen(one, "out_of_memory")
            # The others cost nothing, unless a context of theirs was what there was no room for.
            return self._append([one for one in sent if not one.pruned.has_news]) if new else []
        for one in sent:
            self._note(one)
        return sent

    def _note(self, sent: PrunedSample) -> None:
        """Note a frame that the model has seen."""
        frame, camera_id = sent.frame, sent.frame.camera_id
        camera, window = self._camera(camera_id), self._engine.window(camera_id)
        if camera.note(sent, window, lost_s=self._status.lost_s(camera_id)):
            self._machines.gap(camera_id)
        blank = self._blank(camera_id, frame.captured_at)
        told = provenance_of(frame, window, tokens=camera.shown.tokens, blank=blank)
        camera.told = replace(told, damaged=camera.shown.is_damaged)
        self._rebuilding.seen(frame, window)
        self._visits.shown(sent)
        if self._evidence is not None:
            self._evidence.shown(sent)
        age = self._clock.now() - frame.captured_at
        frame_shown(self._observer, sent, age_s=age.total_seconds())

    def _due(self, sent: PrunedSample) -> list[Ask]:
        camera_id = sent.frame.camera_id
        camera = self._camera(camera_id)
        asks = camera.due(
            sent,
            caption_stretch=self._load.step.caption_stretch,
            worth=self._engine.worth_saying(camera_id) if self._caption_when == "model" else None,
        )
        camera.defer([ask for ask in asks if self._speaking.asks_already(ask)])
        asks = [ask for ask in asks if not self._speaking.asks_already(ask)]
        if self._status.unsound(camera_id) in (None, "stalled"):  # it came before that
            return asks
        camera.defer([ask for ask in asks if ask.standing.question.kind != CAPTION])
        return [ask for ask in asks if ask.standing.question.kind == CAPTION]

    def _owe(self, asks: Sequence[Ask]) -> None:
        """Let what the model had no memory for be asked with the next frame."""
        self._ticks.narrow(len({ask.sent.frame.camera_id for ask in asks}), self._now_s())
        for ask in asks:
            self._camera(ask.sent.frame.camera_id).defer([ask])

    def _say(self, until_s: float, *, at_most_s: float = inf) -> None:
        """Go on with what is being said, as `Speaking.say`; tell each answer when it is whole."""
        while answered := self._speaking.say(until_s, at_most_s=at_most_s):
            self._reply(answered)

    def _reply(self, answers: Sequence[tuple[Ask, Answer]]) -> None:
        """Store what is to be said, and what the events have come to."""
        replies = TickReplies(self._machines, self._evidence)
        for ask, answer in answers:
            camera_id, now_s = ask.sent.frame.camera_id, self._now_s()
            camera = self._camera(camera_id)
            camera.answered(ask, answer, now_s=now_s)
            provenance = self._provenance(camera_id, ask.told)
            replies.add(ask, answer, stream_s=ask.stream_s, provenance=provenance)
            age_s = now_s - ask.sent.arrived_s
            is_late = ask.is_deferred or age_s > self._load.max_age_s
            answer_given(self._observer, age_s=age_s, is_late=is_late)
        for camera_id, camera in self._cameras.items():
            if self._tenures.is_held(camera_id):
                continue
            if (reason := self._status.unsound(camera_id)) is not None:
                for standing in camera.overdue(now_s=self._now_s()):
                    provenance = self._provenance(camera_id)
                    replies.add_unknown(standing, reason, provenance=provenance)
        for ending in self._machines.endings(is_over=self._is_over, waits=self._tenures.is_held):
            provenance = self._blank(ending.camera_id, ending.captured_at)
            newest = self._camera(ending.camera_id).newest
            replies.add_ending(ending, provenance=provenance, newest=newest)
        states = self._machines.take_changes()
        if replies.messages or states:
            messages = [self._tenures.stamped(one) for one in replies.messages]
            self._replies.put(messages, states=states)
        for message in replies.messages:
            reply_made(self._observer, message.kind, message.camera_id, message.body["data"])

    def _provenance(self, camera_id: str, told: Provenance | None = None) -> Provenance:
        """Return what a message says of a camera: by its last frame, unless it was another one."""
        now = self._clock.now()
        camera = self._cameras.get(camera_id)
        told = told or (camera and camera.told) or self._blank(camera_id, now)
        return replace(
            told,
            inferred_at=now,
            degraded=self._load.level > 0 or self._status.state(camera_id) == "degraded",
            damaged=told.damaged or self._status.unsound(camera_id) == "damaged",
        )

    def _blank(self, camera_id: str, captured_at: datetime) -> Provenance:
        return blank_provenance(
            camera_id,
            captured_at,
            now=self._clock.now(),
            model=self._engine.model_name,
            demo_model=self._engine.is_demo_model,
        )

    def _is_over(self, camera_id: str) -> bool:
        """Say whether nothing more comes of a camera: its file has ended, and no frame waits."""
        is_open = self._lanes.is_waiting(camera_id) or self._speaking.is_about(camera_id)
        return self._status.is_over(camera_id) and not is_open

    def _ask_once(self, one: OneOff) -> Message:
        return answered_once(
            one,
            self._engine,
            last=self._visits.last(one.camera_id),
            reason=self._status.unsound(one.camera_id),
            provenance=self._provenance(one.camera_id),
            doubt=self._doubt,
        )

    def _forget_silent(self) -> None:
        """Free what the engine holds of cameras that have sent nothing for long."""
        limit_s = self._now_s() - self._forget_after_s
        for camera_id, camera in self._cameras.items():
            if camera.seen_s < limit_s:
                self._release(camera_id)
                self._lanes.reset(camera_id)
                camera.forget()

    def _not_seen(self, sent: PrunedSample, reason: str) -> None:
        """Take back that the model has seen a frame: its camera's next one is a refresh."""
        camera_id = sent.frame.camera_id
        if self._engine.window(camera_id) is None:
            self._camera(camera_id).grid = None  # room is asked for again
        self._lanes.reset(camera_id)
        self._observer.count(FRAMES_REFUSED, camera=camera_id, reason=reason)

    def _camera(self, camera_id: str) -> CameraSession:
        if camera_id not in self._cameras:
            questions, phase = self._control.now.questions, self._ticks.ask_phase(camera_id)
            schedule = Schedule(camera_id, questions, phase=phase)
            self._cameras[camera_id] = CameraSession(schedule, caption_when=self._caption_when)
        return self._cameras[camera_id]

    def _now_s(self) -> float:
        return self._clock.monotonic_s()
