"""Entry point of `python -m cascade_rcnn`, for torchrun."""

from cascade_rcnn.cli import main

if __name__ == "__main__":
    main()
