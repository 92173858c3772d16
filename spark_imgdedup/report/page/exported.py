"""Pages of exported pairs, from their files: what `sample` writes beside them. One pair is held at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spark_imgdedup.files import storage
from spark_imgdedup.kernels.bounds import ImageError
from spark_imgdedup.kernels.images import decode_image
from spark_imgdedup.report.page.build import build_pairs
from spark_imgdedup.report.page.model import KEPT, KINDS, LEAVING, Band, Pair, Picture
from spark_imgdedup.report.page.thumbnails import Thumbnails

PAIRS_PER_PAGE = 100


@dataclass(frozen=True)
class Exported:
    """A folder of exported pairs.

    Attributes:
        to: The folder.
        dataset: What they are of.
        n_found: How many there were to choose from.
        max_pixels: A larger image is not decoded.
        options: Of the folder.
    """

    to: str
    dataset: str
    n_found: int
    max_pixels: int
    options: Mapping[str, Any]

    def pages(self, lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
        """Names and contents of the pages.

        Args:
            lines: Of pairs.csv, in order.
        """
        groups = [lines[start : start + PAIRS_PER_PAGE] for start in range(0, len(lines), PAIRS_PER_PAGE)]
        for number, group in enumerate(groups, 1):
            small = Thumbnails.of(2 * len(group), self.max_pixels)
            pairs = tuple(self._pair(line, small) for line in group)
            title = f"{group[0]['number']} to {group[-1]['number']}"
            band = Band("mixed", title, None, self.n_found, pairs, storage.join(self.to, "pairs.csv"))
            name = "index.html" if len(groups) == 1 else f"index-{number:02d}.html"
            yield name, build_pairs(self.dataset, "The files of these pairs lie beside this page.", band)

    def _pair(self, line: Mapping[str, Any], small: Thumbnails) -> Pair:
        word, detector = KINDS.get(line["found_by"], ("duplicate", line["found_by"] or "the run"))
        also = bool(line["max_id_is_duplicate_too"])
        better = self._picture(line, "repeats", LEAVING if also else KEPT, small)
        other = self._picture(line, "removed", LEAVING, small)
        score = line["cosine_sim_score"]
        measure = f"no. {line['number']}" + ("" if score == "" else f", cosine {score:.6f}")
        verdict = f"{word.capitalize()}, found by {detector}." + (" Both are duplicates." if also else "")
        return Pair(better, other, measure, verdict)

    def _picture(self, line: Mapping[str, Any], role: str, status: str, small: Thumbnails) -> Picture:
        image_id = line["image_id" if role == "removed" else "max_id"]
        file = line[f"{role}_file"]
        if not file:
            return Picture(image_id, status, problem=line["problem"])
        with storage.open_read(storage.join(self.to, file), self.options) as opened:
            data = opened.read()
        facts = {"file": file, "bytes": f"{len(data):,}"}
        try:
            image = decode_image(data, max_pixels=self.max_pixels)
            size = f"{image.width:,} \N{MULTIPLICATION SIGN} {image.height:,}"
            return Picture(image_id, status, {"size": size, "format": image.format, **facts}, small(data))
        except ImageError as error:
            return Picture(image_id, status, facts, problem=str(error))
