import PIL.Image

from cascade_rcnn.engine.curve import plot

HEAD = "step,epoch,lr,images_per_s,loss,loss_objectness,loss_rpn_box_reg,loss_classifier_stage1,loss_box_reg_stage1"


def test_a_picture_with_and_without_evaluation(tmp_path):
    rows = [f"{k},1,0.1,5,{4 / k},{1 / k},{1 / k},{1 / k},{1 / k}" for k in range(1, 30)]
    (tmp_path / "train.csv").write_text("\n".join([HEAD, *rows]))
    with PIL.Image.open(plot(tmp_path)) as picture:
        narrow = picture.size
    (tmp_path / "evaluation.csv").write_text("step,ap,ap50,ap75,ap90\n10,0.1,0.2,0.1,0\n20,0.2,0.4,0.2,0.1\n")
    with PIL.Image.open(plot(tmp_path)) as picture:
        assert picture.size[0] > narrow[0]  # a second panel
