"""What a trained model's folder has in addition to its weights."""

from ip2p_batch.models import catalog, presets
from ip2p_batch.models.edit_sizes import EditSizes
from ip2p_batch.training.saving import save_pipeline

from .tiny_pipelines import pipeline


def test_a_model_keeps_the_defaults_edit_sizes_and_presets_that_it_is_saved_with(tmp_path):
    own = {"fast": {"num_inference_steps": 4, "scheduler": "lcm"}}
    sizes = EditSizes.unmeasured(64)
    save_pipeline(pipeline(), tmp_path / "a", {"num_inference_steps": 5}, sizes, own)
    model = str(tmp_path / "a")
    assert catalog.defaults(model) == {"num_inference_steps": 5}
    assert catalog.edit_sizes(model) == sizes
    assert presets.own(model) == own
