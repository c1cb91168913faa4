"""A recipe sized by the data: what there is to know about it, and rules from there to settings. Nothing is trained."""
