"""From raw pairs of picture and text to data to train on, as VL3-Syn7M was made from COYO-700M."""
