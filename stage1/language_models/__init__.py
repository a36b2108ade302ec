"""Language models: name -> folder (bundled, local, hub) -> checked T5 encoder -> each arm's T5."""
