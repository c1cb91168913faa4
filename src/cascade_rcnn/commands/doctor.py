"""The command `cascade-rcnn doctor`."""

import sys


def doctor() -> None:
    """Check this installation (versions, compiled operators, GPU) and print how to fix problems."""
    from cascade_rcnn.engine.doctor import examine

    lines, advice = examine()
    print("\n".join(lines))
    if advice:
        print("\nto do:\n" + "\n".join(f"- {line}" for line in advice))
        sys.exit(1)
    print("\neverything works")
