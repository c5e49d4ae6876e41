"""A torch with a GPU, as far as the builder of engines asks: its name."""

__version__ = "2.2.2+fake"


class cuda:  # noqa: N801 - torch's name
    @staticmethod
    def is_available():
        return True

    @staticmethod
    def get_device_name(index):
        return "NVIDIA FAKE 100"
