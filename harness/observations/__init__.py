"""What guests saw: the model, the stream's parser, the journal."""
