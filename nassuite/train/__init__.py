"""Training: one loop, the sandwich step for supernets, distillation for the networks taken from them."""
