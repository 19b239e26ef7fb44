"""One model for each detector chip, or one for all: conditioning on the chip, sets of models, fine-tuning."""
