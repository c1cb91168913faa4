"""What the fork server imports, once, for every command."""

import importlib
import warnings

_MODULES = (
    *("tensorboard.summary.writer.record_writer", "matplotlib.pyplot", "cascade_rcnn.cli", "cascade_rcnn.engine.train"),
    *("cascade_rcnn.engine.curve", "cascade_rcnn.engine.predict", "cascade_rcnn.engine.predictor"),
    *("cascade_rcnn.export.export", "benchmarks.torture.commands"),
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for module in _MODULES:
        importlib.import_module(module)
