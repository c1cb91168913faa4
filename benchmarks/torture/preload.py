"""Modules that the fork server imports once for all commands."""

import importlib
import warnings

_MODULES = (
    *(
        "tensorboard.summary.writer.record_writer",
        "matplotlib.pyplot",
        "cascade_rcnn.cli",
        "cascade_rcnn.api.train",
    ),
    *(
        "cascade_rcnn.api.export",
        "cascade_rcnn.api.predict",
        "cascade_rcnn.api.evaluate",
    ),
    "benchmarks.torture.commands",
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for module in _MODULES:
        importlib.import_module(module)
