"""Frames of a topic's records, each picture decoded once, however often it is shown again."""

from collections.abc import Callable, Mapping
from typing import Any

from model.types import PatchGrid
from pipeline.sources.fair_queue import Taken
from pipeline.sources.image import DecodedImage, decode_image
from pipeline.sources.offsets import place_of
from pipeline.sources.shape import AS_TOLD, Shape
from pipeline.types import Frame, Receipt, RecordPlace


class TopicPictures:
    """Decodes what is taken of a topic. For one thread."""

    def __init__(
        self,
        *,
        grid_of: Callable[[int, int], PatchGrid],
        max_pixels: int,
        shapes: Mapping[str, Shape],
    ) -> None:
        """Begin with nothing decoded.

        Args:
            grid_of: (height_px, width_px) of a picture to its grid.
            max_pixels: largest picture that is decoded.
            shapes: what pictures do not say of themselves, by camera id.
        """
        self._grid_of = grid_of
        self._max_pixels = max_pixels
        self._shapes = shapes
        # Of each camera that sends `unchanged`: as many as there may be cameras.
        self._shown: dict[str, tuple[RecordPlace, DecodedImage]] = {}

    def frame(self, taken: Taken, place: RecordPlace | None = None) -> Frame:
        """Return the frame of a record that has a picture to show; `place` is where it stands.

        Raises:
            FrameError: it is no image.
        """
        image = self._image(taken, taken.picture)
        return Frame(
            taken.camera_id,
            image.pixels,
            image.grid,
            taken.captured_at.timestamp(),
            taken.captured_at,
            Receipt(place) if place else None,
            is_damaged=taken.state in ("damaged", "damaged_shown"),
            # where its state is told, whether it is frozen was judged before its coding for Kafka
            is_coded_anew=taken.state is None and taken.picture is taken.record,
            record=place,
        )

    def _image(self, taken: Taken, picture: Any) -> DecodedImage:
        place, known = place_of(picture), self._shown.get(taken.camera_id)
        if known is not None and known[0] == place:
            return known[1]
        is_upright = taken.state is not None  # as whoever tells states has brought it
        shape = self._shapes.get(taken.camera_id, AS_TOLD)
        image = decode_image(
            picture.value or b"",
            grid_of=self._grid_of,
            max_pixels=self._max_pixels,
            shape=AS_TOLD if is_upright else shape,
        )
        if taken.state is not None or picture is not taken.record:
            self._shown[taken.camera_id] = place, image
        return image
