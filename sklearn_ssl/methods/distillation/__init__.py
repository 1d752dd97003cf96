"""Methods that match the outputs of a momentum teacher."""
