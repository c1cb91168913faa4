"""Other frameworks' detectors: torchvision's beside ours, each other one in a process of its own Python.

`serve.py` and the modules of detectron2 and mmdet run over there, where nothing of cascade_rcnn need be installed;
`process.py` asks from here; `python -m benchmarks.peers` is the measurement.
"""
