"""The engine: frames of many streams in, answers about their windows out.

A tick is two calls: `append`, in which what changed goes through the encoder and on to the
contexts, and `ask`, in which questions are put after them. Each is a packed pass over all streams
that are due. Not safe for use by two threads.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

import torch

from model.engine.admission import Admission
from model.engine.answers import Respondent
from model.engine.append import FrameFeatures, append
from model.engine.config import DEFAULTS, MAX_TOKENS_PER_FRAME, EngineConfig
from model.engine.decoding import Decoding
from model.engine.frame_part import check_frames
from model.engine.kv_cache import KVSequence, PagePool
from model.engine.loading import load_family, name_of
from model.engine.now import Now
from model.engine.rolling_context import Context, RollingContext
from model.engine.sentences import Sentences
from model.engine.shortage import Shortage
from model.engine.speech import Speech
from model.engine.stream_encoder import StreamEncoder
from model.errors import InputError
from model.family import Family
from model.layers.small_kernels import choose_small_kernels
from model.progress import Tell, untold
from model.types import Answer, EngineStats, PatchGrid, PrunedFrame, Question, Window


class Engine:
    """A vision-language model over the rolling windows of many streams."""

    def __init__(self, family: Family, *, model_name: str, config: EngineConfig = DEFAULTS) -> None:
        """Put the parts together.

        Args:
            family: a loaded model.
            model_name: what to call it in messages.
            config: limits and ways.

        Raises:
            InputError: the model has too few positions for the limits, or a way is not known.
            CheckpointError: the tokenizer is not fit for reading answers.
        """
        network = family.network
        max_positions = network.config.text.max_positions
        longest = max(config.max_caption_tokens, config.max_answer_tokens)
        if config.max_context_tokens + longest >= max_positions:
            raise InputError(
                "max_context_tokens: expected room for a question and its answer within the "
                f"model's {max_positions} positions, got {config.max_context_tokens}"
            )
        if config.says_when and not family.speaks:
            raise InputError(
                "says_when: expected a model that learnt when to speak, which its vigil.json would "
                f"say, got {model_name}"
            )
        self.model_name = model_name
        self._family = family
        self._model = network.fuse(in_fp8=config.fp8_products)
        self._config = config
        self._respondent = Respondent(
            family,
            max_caption_tokens=config.max_caption_tokens,
            max_answer_tokens=config.max_answer_tokens,
        )
        self._encoder = StreamEncoder(
            network,
            mode=config.vision,
            audit_share=config.audit_share,
            max_drift=config.max_drift,
            keeps_first=family.prompt.shows_now,
        )
        self._pool = PagePool.of(network, is_fp8=config.fp8_keys)
        self._weight_bytes = sum(weight.nbytes for weight in network.parameters())
        batch = Decoding(network, self._pool, num_rows=config.spoken_together, max_answer=longest)
        self._choice_ids = family.choice_ids if config.says_when else None
        self._streams: dict[str, RollingContext] = {}
        self._grids: dict[str, PatchGrid] = {}
        self._shortage = Shortage(self._streams, self._pool)
        self._speech = Speech(
            self._respondent,
            self._pool,
            sentences=Sentences(batch),
            shortage=self._shortage,
            sample_period_s=config.sample_period_s,
        )
        fixed_bytes = self._weight_bytes + batch.num_bytes
        self._admission = Admission(
            family, config, pool=self._pool, fixed_bytes=fixed_bytes, hush=self._speech.give_way
        )

    @classmethod
    def load(
        cls,
        path: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        config: EngineConfig = DEFAULTS,
        revision: str | None = None,
        tell: Tell = untold,
    ) -> Self:
        """Load a checkpoint and prove its attention backend.

        Args:
            path: `nano` for the bundled model, a local folder, or a repository on the Hugging Face
                hub.
            device: `auto`, `cpu`, `cuda` or `cuda:1`; `auto` takes CUDA where there is one.
            dtype: `auto`, `bfloat16`, `float16` or `float32`; `auto` is bfloat16 on CUDA and
                float32 on a CPU.
            config: limits and ways.
            revision: of a repository: a branch, tag or commit; None for its main branch.
            tell: told how far it is, often.

        Raises:
            CheckpointError: the folder is not a whole checkpoint, or cannot be had.
            BackendError: attention on this device is not what the formula says.
            InputError: a device, dtype or limit cannot be had.
        """
        family = load_family(path, device=device, dtype=dtype, revision=revision, tell=tell)
        return cls(family, model_name=name_of(path), config=config)

    @property
    def family(self) -> Family:
        """The loaded model, on which another engine may be put."""
        return self._family

    @property
    def is_on_cpu(self) -> bool:
        """Say whether the model runs on the CPU."""
        return self._model.device.type == "cpu"

    @property
    def is_demo_model(self) -> bool:
        """Say whether the model is a demonstration, which knows only a rendered world."""
        return self._family.is_demo

    @property
    def stats(self) -> EngineStats:
        """Count what is held, and what has happened since the engine was loaded."""
        drift = self._encoder.drift
        return EngineStats(
            num_streams=len(self._streams),
            weight_bytes=self._weight_bytes,
            vision_cache_bytes=self._encoder.num_bytes,
            context_bytes=self._pool.num_bytes,
            budget_bytes=self._admission.total_bytes,
            drift=drift.cosine_distance if drift else None,
            num_audits=self._encoder.num_audits,
            num_forced_refreshes=self._encoder.num_forced_refreshes,
            num_out_of_memory=self._shortage.num,
            num_shed=self._shortage.num_shed,
            num_cut_short=self._shortage.num_cut_short,
            num_unsaid=self._shortage.num_unsaid,
            attention_backend=str(self._model.language.backend),
            small_kernels=str(choose_small_kernels(self._model.device, self._model.dtype)),
        )

    def pin_grid(
        self, height_px: int, width_px: int, *, max_tokens: int = MAX_TOKENS_PER_FRAME
    ) -> PatchGrid:
        """Choose the token grid that a camera's frames are to be resized to.

        Args:
            height_px: height of the camera's picture.
            width_px: width of the camera's picture.
            max_tokens: what a full frame may cost.

        Raises:
            InputError: an empty or a very long picture, or too small a budget.
        """
        return self._model.patches.pin_grid(height_px, width_px, max_tokens=max_tokens)

    def bytes_of(self, stream_id: str) -> int:
        """Count the device memory that one stream holds: its pages and its vision cache."""
        stream = self._streams.get(stream_id)
        return (stream.num_bytes if stream else 0) + self._encoder.bytes_of(stream_id)

    def admit(self, stream_id: str, grid: PatchGrid) -> None:
        """Make room for a stream of such frames; `append` does so by itself.

        Raises:
            AdmissionError: with it the budget would be passed; nothing has changed.
        """
        self._admission.admit(stream_id, grid, self._streams)

    def bytes_usual(self, grid: PatchGrid) -> int:
        """Count the bytes that a new stream of such frames is taken for."""
        return self._admission.bytes_usual(grid)

    def bytes_at_most(self, grid: PatchGrid) -> int:
        """Count the bytes that a stream of such frames may come to hold."""
        return self._admission.bytes_at_most(grid)

    @torch.inference_mode()
    def append(self, frames: Sequence[PrunedFrame], *, may_shed: bool = True) -> None:
        """Show frames, of any number of streams, in the order given.

        A stream's first frame, a refresh, the first after a jump back in time and one with which a
        context begins are seen whole, whatever their mask. Any other that keeps nothing brings the
        time alone, without a pass. When this raises, every stream is as it was before, but for
        contexts that were given up or ended early to make room.

        Args:
            frames: what is shown.
            may_shed: whether contexts end early where the budget has no page left, those nearest to
                their end first, and standby ones are given up where the device has no room; else
                that is refused at once, and every stream keeps what it has.

        Raises:
            InputError: a frame is malformed, or changes its stream's grid without being a refresh.
            AdmissionError: a stream is new, or on a larger grid, and the budget has no room for it.
            DeviceMemoryError: there is no room for the pass, even after contexts were given up.
        """
        check_frames(frames, self._grids, token_px=self._model.patches.token_px)
        for frame in frames:
            if self._grids.get(frame.stream_id) != frame.grid:
                self.admit(frame.stream_id, frame.grid)
        due = {frame.stream_id for frame in frames}
        self._shortage.spare(lambda: self._append(frames), due=due, may_shed=may_shed)

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        """Answer questions, each about the window of its stream; none changes another's answer.

        Args:
            asks: stream id and question.

        Returns:
            One for each, in order; the stretch that a `when` answer tells of is in stream time.

        Raises:
            InputError: a stream has shown no frame, or a question cannot be put; none is answered.
            DeviceMemoryError: the device has no room for the pass, or to say an answer.
        """
        return self._speech.ask(*self._put(asks))

    def begin(self, asks: Sequence[tuple[str, Question]]) -> list[Answer | int]:
        """Answer what needs no more than a pass; the rest is said token by token in `speak`.

        As `ask`, whose answers these are; for those that come later it gives the tickets by which
        `speak` tells them. They are about the windows as they are now.
        """
        return self._speech.begin(*self._put(asks))

    @property
    def is_speaking(self) -> bool:
        """Whether an answer is still to come out of `speak`."""
        return self._speech.is_going

    def speak(self) -> list[tuple[int, Answer | None]]:
        """Say more of what `begin` left; give by ticket what is whole, None for want of memory."""
        return self._speech.step()

    def first_logits(self, stream_id: str, question: Question) -> torch.Tensor:
        """Give the logits (V,) float32 of an answer's first token, to compare with others'.

        Raises:
            InputError: as in `ask`.
        """
        [(_, context)], nows = self._put([(stream_id, question)])
        return self._respondent.first_logits(self._pool, question, context, nows=nows)

    def check(self, question: Question) -> None:
        """Refuse a question that cannot be put to this model.

        Raises:
            InputError: it is malformed, holds a control token, or is too long to be answered after
                a full context.
        """
        self._respondent.check(question)
        self._respondent.check_length(
            question, num_before=self._config.max_context_tokens, window_s=self._config.window_s
        )

    def window(self, stream_id: str) -> Window | None:
        """Give the stretch of a stream that a question sees; None where it has shown no frame."""
        stream = self._streams.get(stream_id)
        return stream.window if stream else None

    def worth_saying(self, stream_id: str) -> float | None:
        """Give how likely the model finds something worth saying; None where it is not asked."""
        context = self._streams[stream_id].active if stream_id in self._streams else None
        return context.worth if context else None

    def reset(self, stream_id: str) -> None:
        """Forget what a stream has shown; its next frame starts anew."""
        if stream_id in self._streams:
            self._streams[stream_id].reset()
        self._encoder.reset(stream_id)
        self._grids.pop(stream_id, None)

    def remove(self, stream_id: str) -> None:
        """Forget a stream and free what it holds."""
        self.reset(stream_id)
        self._streams.pop(stream_id, None)
        self._encoder.remove(stream_id)
        self._admission.release(stream_id)

    def take_over(self, stream_id: str, other_id: str) -> None:
        """Let a stream go on with what another was shown, which is no stream of its own any more.

        What the stream itself was shown is forgotten and freed. Nothing is computed.

        Raises:
            InputError: the other one has shown no frame; nothing has changed.
        """
        if stream_id == other_id or self.window(other_id) is None:
            raise InputError(f"stream {other_id}: expected another one that has shown a frame")
        self.remove(stream_id)
        self._streams[stream_id] = self._streams.pop(other_id)
        self._grids[stream_id] = self._grids.pop(other_id)
        self._encoder.rename(other_id, stream_id)
        self._admission.rename(other_id, stream_id)

    def _append(self, frames: Sequence[PrunedFrame]) -> None:
        """Encode what changed and let the contexts read it, or change nothing."""
        with self._all_or_nothing({frame.stream_id for frame in frames}):
            shown: list[PrunedFrame] = []
            whole: list[bool] = []
            for frame in frames:
                num_tokens = frame.grid.num_tokens
                is_whole = self._streams[frame.stream_id].show(
                    len(shown),
                    num_kept=num_tokens if frame.is_refresh else frame.num_kept,
                    num_tokens=num_tokens,
                    pts_s=frame.pts_s,
                )
                if is_whole or frame.has_news:
                    whole.append(is_whole)
                    shown.append(frame)
            if shown:
                for context in self._contexts_of(shown):
                    context.reserve()  # nothing is encoded for what has no room
                self._read(shown, whole)

    def _read(self, shown: Sequence[PrunedFrame], whole: Sequence[bool]) -> None:
        """Encode frames, those that open a context whole, and let the contexts read them."""
        encoded = self._encoder.encode(shown, whole)
        seen = [FrameFeatures.of(*one) for one in zip(shown, encoded, strict=True)]
        contexts = self._contexts_of(shown)
        append(self._model, self._pool, contexts, seen, choice_ids=self._choice_ids)
        self._grids.update({frame.stream_id: frame.grid for frame in shown})

    def _contexts_of(self, frames: Sequence[PrunedFrame]) -> list[Context]:
        streams = [self._streams[one] for one in dict.fromkeys(f.stream_id for f in frames)]
        return [context for stream in streams for context in stream.contexts]

    @contextmanager
    def _all_or_nothing(self, stream_ids: set[str]) -> Iterator[None]:
        """Undo what the block did to streams if it fails."""
        new = stream_ids - self._streams.keys()
        for stream_id in new:
            self._streams[stream_id] = RollingContext(
                self._pool,
                self._family,
                window_s=self._config.window_s,
                max_context_tokens=self._config.max_context_tokens,
                sample_period_s=self._config.sample_period_s,
            )
        try:
            with ExitStack() as undo:
                undo.enter_context(self._encoder.all_or_nothing())
                for stream_id in stream_ids:
                    undo.enter_context(self._streams[stream_id].all_or_nothing())
                yield
        except BaseException:
            for stream_id in new:
                del self._streams[stream_id]
            raise

    def _context(self, stream_id: str) -> Context:
        stream = self._streams.get(stream_id)
        context = stream.active if stream else None
        if context is None:
            raise InputError(f"stream {stream_id}: expected a frame before a question, got none")
        return context

    def _put(
        self, asks: Sequence[tuple[str, Question]]
    ) -> tuple[list[tuple[Question, Context]], dict[KVSequence, Now]]:
        """Find the contexts that questions are about, and what is put first, where that is."""
        nows = {}
        for stream_id in {stream_id for stream_id, _ in asks}:
            context, first = self._context(stream_id), self._encoder.first_token(stream_id)
            stamp_ids = context.now_ids
            if stamp_ids and first is not None:
                ids = (*stamp_ids, self._family.tokenizer.visual_id)
                nows[context.sequence] = Now(ids, first)
        return [(question, self._context(stream_id)) for stream_id, question in asks], nows
