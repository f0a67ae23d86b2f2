"""Training, evaluation, prediction and pictures for the models of `rpstn_ext`."""
