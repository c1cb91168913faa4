"""How much box AP do the fast modes cost? Measured for the first of --checkpoints on person_val.json in --data."""

from typing import Any

from benchmarks import networks
from benchmarks.measure import Options, Row, options, skip, write
from cascade_rcnn.config import INFERENCE
from cascade_rcnn.data import load_annotations
from cascade_rcnn.engine.evaluate import run_predictor
from cascade_rcnn.engine.predictor import Precision, Predictor
from cascade_rcnn.evaluation import evaluate_boxes

_MODES: dict[str, tuple[Precision, dict[str, Any], float]] = {  # precision, settings, limit of AP points lost
    "bf16": ("bf16", {}, 0.2),
    "early rejection": ("fp32", networks.REJECTING, 0.1),
}


def main(given: Options) -> None:
    path = None if given.data is None else given.data / "person_val.json"
    if path is None or given.checkpoint is None or not path.is_file():
        skip("accuracy", "give --checkpoints FILE and --data FOLDER with person_val.json and images/")
        return
    truth = load_annotations(path)

    def ap(precision: Precision, settings: dict[str, Any]) -> float:
        assert given.checkpoint is not None
        predictor = Predictor(given.checkpoint, device="cpu", precision=precision, **settings)
        found = run_predictor(predictor, truth, 1, 2)
        return 100 * evaluate_boxes(truth, found.rows).ap

    exact = ap("fp32", {})
    rows = [Row(what="box AP, fp32", value=exact, unit="points")]
    for name, (precision, settings, bound) in _MODES.items():
        if set(settings) <= set(INFERENCE):
            lost = abs(exact - ap(precision, settings))
            rows.append(Row(what=f"box AP, {name}: difference", value=lost, unit="points", bound=bound))
    write("accuracy", given, rows)


if __name__ == "__main__":
    main(options(__doc__))
