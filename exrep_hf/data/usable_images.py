"""Images that can be decoded, under the names of columns that everything else expects."""

from datasets import Dataset

from exrep_hf.data.checks import whole_rows
from exrep_hf.data.image_looks import Look, look_at_images


def usable_images(
    rows: Dataset, image_column: str, label_column: str | None, look: Look, skip_broken: bool, num_proc: int | None
) -> tuple[Dataset, list[bytes], int]:
    """Return images in the columns `image` and, where there are any, `label`, without those that can't be decoded.

    Args:
        rows: a data set.
        image_column: its column with images.
        label_column: its column with labels; None leaves them out.
        look: which images are decoded to see whether they can be.
        skip_broken: whether broken images are left out; if not, they are an error.
        num_proc: as in `look_at_images`.

    Returns:
        The rows; the digest of each image, if all are looked at, else none; and how many were left out.

    Raises:
        ValueError: for images that can't be decoded, unless they are skipped.
    """
    report = look_at_images(rows, image_column, look, num_proc)
    if report.broken:
        kept = whole_rows(report, skip_broken)
        rows, report.digests = rows.select(kept), [report.digests[row] for row in kept if report.digests]
    names = {image_column: "image"} | ({} if label_column is None else {label_column: "label"})
    rows = rows.select_columns(list(names))
    renamed = rows.rename_columns({old: new for old, new in names.items() if old != new})
    return renamed, report.digests, len(report.broken)
