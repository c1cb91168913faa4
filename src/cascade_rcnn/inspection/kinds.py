"""The kinds of findings, with their severity, effect and advice."""

from typing import Literal, NamedTuple, TypeAlias

Severity: TypeAlias = Literal["wrong", "look", "info"]
SEVERITIES: dict[Severity, str] = {
    "wrong": "to fix before training",
    "look": "worth checking",
    "info": "for information",
}


class Kind(NamedTuple):
    """A kind of finding. The codes in `KINDS` are stable."""

    severity: Severity
    noun: str  # what is counted
    title: str
    effect: str  # on training or metrics
    advice: str


KINDS: dict[str, Kind] = {
    "missing_image": Kind(
        "wrong",
        "image",
        "Missing image files",
        "Training refuses to start, or, with --data.bad-images skip, leaves these images out.",
        "Give the correct folder (--images), or remove these images from the annotations.",
    ),
    "unreadable_image": Kind(
        "wrong",
        "image",
        "Unreadable images",
        "Training refuses to start, or, with --data.bad-images skip, leaves these images out.",
        "Copy or export them again, or remove them from the annotations.",
    ),
    "size_differs": Kind(
        "wrong",
        "image",
        "Images whose size differs from the annotated one",
        "The boxes do not fit, as the image was resized or rotated before or after it was annotated. Training stops.",
        "Annotate the current files, or restore the annotated ones.",
    ),
    "shared_file": Kind(
        "wrong",
        "image",
        "Several image records for the same file",
        "Each record has only some of the objects; the others would be trained as background. Training stops.",
        "Merge the records.",
    ),
    "no_boxes": Kind(
        "wrong",
        "split",
        "No boxes in the training or validation set",
        "There is nothing to train on, or to measure AP on. Training stops.",
        "Check the annotations of this set.",
    ),
    "classes_differ": Kind(
        "wrong",
        "class",
        "Classes that only some splits declare",
        "The same label would mean different classes. Training stops.",
        "Give all splits the same list of classes, with the same ids.",
    ),
    "class_without_training": Kind(
        "wrong",
        "class",
        "Classes without training examples",
        "The model cannot learn them: their AP is 0, which lowers the mean.",
        "Move some images of these classes into the training set, or remove the classes.",
    ),
    "duplicate_across_splits": Kind(
        "wrong",
        "image",
        "Identical files in different splits",
        "The model is evaluated on images that it was trained on, so AP is too high.",
        "Remove the file from one of the splits.",
    ),
    "near_duplicate_across_splits": Kind(
        "look",
        "image",
        "Near-duplicate images in different splits",
        "If these are resized or recompressed copies, or frames of the same scene, AP is too high.",
        "Split the data by scene, video or patient rather than by image.",
    ),
    "version_across_splits": Kind(
        "look",
        "image",
        "Augmented versions of an image in different splits",
        "Roboflow made them from images of the same name. If that was one image, AP is too high.",
        "Split the images before augmenting them, or with `cascade-rcnn split`, which keeps versions together.",
    ),
    "lost_box": Kind(
        "look",
        "box",
        "Empty boxes, or boxes outside their image",
        "Training drops them; an object there is trained as background.",
        "Redraw or delete them.",
    ),
    "reaching_box": Kind(
        "look",
        "box",
        "Boxes that extend beyond their image",
        "Training clips them. If there are many, the annotated sizes or coordinates are probably wrong.",
        "Check the first ones; clip them if they are correct.",
    ),
    "repeated_box": Kind(
        "look",
        "box",
        "Objects annotated twice",
        "Boxes of the same class nearly coincide (IoU above 0.95). A detector predicts one of them, and the other "
        "counts as missed.",
        "Delete one of each pair.",
    ),
    "two_classes": Kind(
        "look",
        "box",
        "Objects annotated with two classes",
        "Boxes of different classes nearly coincide (IoU above 0.95), and the model is trained on both.",
        "Choose one class, unless objects may have both.",
    ),
    "misplaced_mask": Kind(
        "look",
        "mask",
        "Masks mostly outside their box",
        "One of the two is wrong: polygons are x, y in pixels, not fractions, and run lengths go down the columns.",
        "Check the first ones, and how the file was converted.",
    ),
    "class_without_validation": Kind(
        "look",
        "class",
        "Classes without validation examples",
        "No validation image contains them, so AP does not cover them.",
        "Move some images of these classes into the validation set.",
    ),
    "rare_class": Kind(
        "look",
        "class",
        "Classes with few training boxes",
        "They have fewer than 20 boxes in the training set; expect a low AP.",
        "Annotate more of them, or merge them with other classes.",
    ),
    "no_anchor": Kind(
        "look",
        "box",
        "Boxes that no anchor fits",
        "At the training size, no anchor has an IoU of 0.5 with them, so the RPN only learns them as low-quality "
        "matches.",
        "Choose other anchors, or use `train auto`, which does so.",
    ),
    "tiny_box": Kind(
        "look",
        "box",
        "Boxes that are tiny in the network's input",
        "After resizing, they are smaller than 8 pixels (square root of the area), or 4 across, too small for details.",
        "Train at a larger size (--options.min-size), or cut the images into tiles.",
    ),
    "crowded_image": Kind(
        "look",
        "image",
        "Images with more objects than the model can output",
        "The number of detections per image is limited, so some objects are always missed.",
        "Increase --max-detections of `predict`, or cut the images into tiles.",
    ),
    "turned_unclear": Kind(
        "look",
        "image",
        "EXIF rotations that the annotations may ignore",
        "Images are rotated according to their EXIF orientation. The size does not reveal whether the boxes were drawn "
        "on the rotated image.",
        "Check the boxes; if they do not fit, save these images without an EXIF orientation.",
    ),
    "narrow_range": Kind(
        "look",
        "image",
        "16-bit images that use little of their range",
        "No value exceeds an eighth of 65535, which becomes white: the images are nearly black and lose most of their "
        "contrast. They were probably recorded with 12 bits or fewer.",
        "Multiply the values of all images by the same number, such as 16 for 12 bits.",
    ),
    "duplicate_image": Kind(
        "look",
        "image",
        "Identical files within a split",
        "The image counts twice. If the annotations differ, at least one of them is wrong.",
        "Remove the copies.",
    ),
    "missing_label": Kind(
        "look",
        "detection",
        "Confident detections where nothing is annotated",
        "If the objects are real, training teaches the model that they are background.",
        "Check them, starting with the most confident ones.",
    ),
    "class_disagreement": Kind(
        "look",
        "label",
        "Objects that the model assigns to another class",
        "Either the label or the model is wrong.",
        "Check them, starting with the most confident ones.",
    ),
    "unreached_label": Kind(
        "look",
        "label",
        "Labels where the model detects nothing",
        "These are difficult objects, or boxes that do not belong there.",
        "Check them, starting with the largest ones.",
    ),
    "near_duplicate_image": Kind(
        "info",
        "image",
        "Near-duplicate images within a split",
        "Resized or recompressed copies and frames of the same scene add little to the training set.",
        "You may keep one image of each scene.",
    ),
    "thin_box": Kind(
        "info",
        "box",
        "Very elongated boxes",
        "One side is more than 20 times as long as the other. Such boxes are hard to learn, and often mistakes.",
        "Check the first ones.",
    ),
    "without_mask": Kind(
        "info",
        "object",
        "Objects without a usable mask, although others have one",
        "Training and evaluation of masks ignore them like crowds. Boxes alone are trained as usual.",
        "The notes say what is wrong with the first unusable one.",
    ),
    "empty_image": Kind(
        "info",
        "image",
        "Images without objects",
        "They are trained as background, which helps if they are really empty.",
        "Check that their objects were not just left out.",
    ),
    "turned_image": Kind(
        "info",
        "image",
        "Images rotated by EXIF",
        "They are rotated when they are read, and their annotations fit the rotated size.",
        "There is nothing to do.",
    ),
    "wrong_extension": Kind(
        "info",
        "image",
        "Files with a wrong extension",
        "The format is detected from the content, so training is not affected, but other programs may refuse them.",
        "Rename them.",
    ),
    "unused_class": Kind(
        "info",
        "class",
        "Classes without any boxes",
        "The model learns that they never occur.",
        "Remove them from the list of classes, unless you will add examples.",
    ),
}
