"""Networks of the generation: text, image autoencoder and U-Net, alignment, and the expert as perception."""
