"""The command `cascade-rcnn weights`."""

from cascade_rcnn.commands.parameters import Positional


def weights(name: Positional[str] = "", /, *, json: bool = False, all: bool = False) -> None:  # noqa: A002
    """List the published detectors, or download one and print its location.

    Args:
        name: The detector, or hf://owner/name; omit to list all.
        json: Print the output as JSON.
        all: Also list detectors that cannot be converted, with the reason.
    """
    from cascade_rcnn.hub.listing import as_json, as_lines, entries, entry
    from cascade_rcnn.models.checkpoint import locate

    if name:
        path = locate(name)
        print(as_json({"name": name, "path": str(path)} | entry(name)) if json else path)
        return
    listed = entries(every=all)
    print(as_json(listed) if json else "\n".join(as_lines(listed)))
