"""What a folder of results already contains, so that a job can continue."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.ray.storage import Place

_END = b"PAR1"  # of a Parquet file


def read_results(place: Place) -> tuple[Counter[str], int]:
    """Return the number of rows of each image, and of those with an error; remove files left incomplete by a kill.

    Raises UserError for a file that is complete but cannot be read, or holds something else.
    """
    images = Counter[str]()
    failed = 0
    for name in place.listing((".parquet",)):
        try:
            table = pq.read_table(place.join(name), columns=["path", "error"], filesystem=place.files)
        except (pa.ArrowInvalid, OSError) as error:
            if _is_complete(place, name):
                problem = f"{name} cannot be read as one of these results ({reason(error)})"
                raise UserError(f"{place.address}: {problem}; move it elsewhere") from None
            place.files.delete_file(place.join(name))
            continue
        images.update(table["path"].to_pylist())
        failed += len(table) - table["error"].null_count
    return images, failed


def _is_complete(place: Place, name: str) -> bool:
    with place.files.open_input_file(place.join(name)) as file:
        file.seek(max(0, file.size() - len(_END)))
        return file.read() == _END
