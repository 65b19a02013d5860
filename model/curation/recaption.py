"""Re-captioning by an engine that keeps many pictures in flight: vLLM, through `ray.data.llm`.

The other steps give a worker a part at a time. Here pictures of all parts stream through the
engine, and a part is written when the last of its captions has come.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
import ray.exceptions

from model.curation.operators import Drop, Judged, Recaptioned, unusable
from model.curation.parts import Pictures, StepFolder, batches, written
from model.curation.plan import Networks, Plan
from model.curation.work import Outcome, sort

Processor = Callable[[ray.data.Dataset], ray.data.Dataset]

_ASKED = ("short", "detailed")


def engine(networks: Networks, settings: dict[str, Any]) -> Processor:
    """Build a processor of `ray.data.llm` for a vision-language model.

    Args:
        networks: name the model and both prompts.
        settings: of `vLLMEngineProcessorConfig`, such as `concurrency`, `batch_size` and
            `engine_kwargs`.
    """
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    config = vLLMEngineProcessorConfig(**settings_of(networks.recaptioner, settings))
    processor: Processor = build_processor(
        config, preprocess=lambda row: asked(row, networks), postprocess=answered
    )
    return processor


def settings_of(model: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Add to the engine's settings what this step needs: pictures in, one bad answer not all."""
    ours = {"prepare_multimodal_stage": {"enabled": True}, "should_continue_on_error": True}
    return {"model_source": model} | ours | settings


def asked(row: dict[str, Any], networks: Networks) -> dict[str, Any]:
    """Put a picture and a prompt as a chat's one turn."""
    prompt = networks.short_prompt if row["style"] == "short" else networks.detailed_prompt
    url = f"data:image/jpeg;base64,{base64.b64encode(row['image']).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt}]
    sampling = {"temperature": 0.0, "max_tokens": networks.max_new_tokens}
    return {"messages": [{"role": "user", "content": content}], "sampling_params": sampling}


def answered(row: dict[str, Any]) -> dict[str, Any]:
    """Keep of an answer what is stored."""
    return {
        "part": row["part"],
        "row": row["row"],
        "style": row["style"],
        "said": row.get("generated_text") or "",
        "failed": row.get("__inference_error__") or "",
    }


def with_processor(plan: Plan, todo: Sequence[int], processor: Processor) -> Iterator[Outcome]:
    """Stream the pictures of parts through a processor and write each part when it is complete.

    Held meanwhile: the captions of parts that are not complete, a few more than are in flight. A
    part whose captions do not all come has failed; a later run asks for them anew.

    Args:
        plan: the run, up to this step.
        todo: the parts.
        processor: from rows `part`, `row`, `style`, `image` to rows as `answered` gives them.
    """
    folder, before = plan.folder("recaption"), plan.before("recaption")
    sizes = {part: pq.ParquetFile(before.part(part)).metadata.num_rows for part in todo}
    for part in todo:
        if sizes[part] == 0:
            yield _written(folder, before, part, {})
    source = ray.data.from_items(
        [{"number": part} for part in todo if sizes[part]], override_num_blocks=len(todo)
    ).flat_map(Asker(plan))
    held: dict[int, dict[tuple[int, str], tuple[str, str]]] = {
        part: {} for part in todo if sizes[part]
    }
    why = "the engine ended"
    try:
        for row in processor(source).iter_rows():
            part = int(row["part"])
            held[part][int(row["row"]), row["style"]] = (row["said"], row["failed"])
            if len(held[part]) == sizes[part] * len(_ASKED):
                yield _written(folder, before, part, held.pop(part))
    except ray.exceptions.RayError as error:  # the engine died, and Ray gave it up
        lines = str(error).strip().splitlines()
        why = next((line for line in lines if "Error: " in line), lines[-1])
    for part, said in held.items():
        due = sizes[part] * len(_ASKED)
        yield Outcome(part, 0, 1, 0, f"expected {due} captions, got {len(said)}: {why}")


class Asker:
    """Turns a part's number into its rows, one for each picture and style."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __call__(self, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield rows, a batch of pictures in memory at a time."""
        part = int(item["number"])
        stored = Pictures(self._plan.folder("read").part(part))
        for rows in batches(self._plan.before("recaption").part(part), ["row"]):
            numbers = rows.column("row").to_pylist()
            for row, image in zip(numbers, stored.take(numbers), strict=True):
                for style in _ASKED:
                    yield {"part": part, "row": row, "style": style, "image": image}


def _written(
    folder: StepFolder,
    before: StepFolder,
    part: int,
    said: dict[tuple[int, str], tuple[str, str]],
) -> Outcome:
    schema = pa.schema([*pq.read_schema(before.part(part)), *Recaptioned.adds])
    num_in = 0
    try:
        with written(folder, part, schema) as writer:
            for rows in batches(before.part(part)):
                numbers = rows.column("row").to_pylist()
                words = {style: [said[row, style][0] for row in numbers] for style in _ASKED}
                drops: list[Drop] = [
                    (index, "recaption_failed", why)
                    for index, row in enumerate(numbers)
                    if (why := said[row, "short"][1] or said[row, "detailed"][1])
                ]
                drops += unusable(words["short"], words["detailed"])
                columns = {style: pa.array(words[style], pa.string()) for style in _ASKED}
                sort(writer, rows, Judged(drops, columns))
                num_in += len(rows)
    except OSError as error:
        return Outcome(part, num_in, 1, 0, f"{type(error).__name__}: {error}")
    return Outcome(part, num_in, 1, 0)
