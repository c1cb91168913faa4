"""What the fork server imports, once, for every command."""

import importlib
import warnings

_MODULES = (
    *(
        "tensorboard.summary.writer.record_writer",
        "matplotlib.pyplot",
        "cascade_rcnn.cli",
        "cascade_rcnn.engine.training.train",
    ),
    *(
        "cascade_rcnn.engine.training.learning_curve",
        "cascade_rcnn.engine.prediction.detect_files",
        "cascade_rcnn.engine.predictor",
    ),
    *("cascade_rcnn.export.export", "benchmarks.torture.commands"),
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for module in _MODULES:
        importlib.import_module(module)
