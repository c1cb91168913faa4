import matplotlib as mpl
import PIL.Image
from matplotlib.axes import Axes

from cascade_rcnn.engine.training.learning_curve import Loss, plot

HEAD = "step,epoch,lr,images_per_s,loss,loss_objectness,loss_rpn_box_reg,loss_classifier_stage1,loss_box_reg_stage1"


def test_a_picture_with_and_without_evaluation(tmp_path):
    rows = [f"{k},1,0.1,5,{4 / k},{1 / k},{1 / k},{1 / k},{1 / k}" for k in range(1, 30)]
    (tmp_path / "train.csv").write_text("\n".join([HEAD, *rows]))
    with PIL.Image.open(plot(tmp_path)) as picture:
        narrow = picture.size
    (tmp_path / "evaluation.csv").write_text("step,ap,ap50,ap75,ap90\n10,0.1,0.2,0.1,0\n20,0.2,0.4,0.2,0.1\n")
    with PIL.Image.open(plot(tmp_path)) as picture:
        assert picture.size[0] > narrow[0]  # a second panel


def test_the_figures_of_a_program_or_notebook_are_still_shown_where_they_were(tmp_path):
    (tmp_path / "train.csv").write_text(f"{HEAD}\n1,1,0.1,5,4,1,1,1,1\n")
    (tmp_path / "evaluation.csv").write_text("step,ap\n1,0.1\n")
    with mpl.rc_context({"backend": "svg"}):
        plot(tmp_path)
        assert mpl.get_backend() == "svg"


def test_every_loss_of_every_stage_has_a_line_of_its_own(tmp_path, monkeypatch):
    names = ["loss_objectness", *(f"loss_{kind}_stage{t}" for t in (1, 2, 3) for kind in ("classifier", "box_reg"))]
    rows = [",".join(["1", "3.0", *["0.5"] * len(names)]), ",".join(["2", "2.0", *["0.25"] * len(names)])]
    (tmp_path / "train.csv").write_text("\n".join([",".join(["step", "loss", *names]), *rows, ""]))
    drawn = []
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **how: drawn.append((how["label"], list(y))))
    monkeypatch.setattr(Axes, "legend", lambda self, **how: None)
    plot(tmp_path)
    labels = ["all", "RPN objectness", *(f"{kind}, stage {t}" for t in (1, 2, 3) for kind in ("classes", "boxes"))]
    assert [label for label, _ in drawn] == labels
    assert drawn[0][1] == [3.0, 2.5]  # running means


def test_losses_of_masks_and_of_others():
    assert Loss.named("loss_mask_stage2") == ("mask", "masks, stage 2", "--")
    assert Loss.named("loss_of_mine") == ("of_mine", "of_mine", "-")
