"""Detectors of other frameworks: torchvision's in this process, the others in processes of their own Python.

`serve.py` and the modules for detectron2 and mmdet run there, without cascade_rcnn; `process.py` sends requests from
here; `python -m benchmarks.peers` runs the benchmark.
"""
