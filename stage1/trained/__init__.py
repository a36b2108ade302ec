"""What a trained model is good for: its encoder, embeddings of bars, an evaluation to look at."""
