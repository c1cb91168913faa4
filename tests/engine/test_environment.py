from cascade_rcnn.engine.environment import describe, peak_memory_mb


def test_a_measurement_can_be_placed():
    here = describe()
    assert here["cores"] >= 1
    assert len(str(here["date"])) == len("2026-01-31")
    assert here["processor"]
    assert 10 < peak_memory_mb() < 1e6
