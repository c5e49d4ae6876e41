"""A TensorRT for machines without a GPU: the calls of the real one that this project makes, and nothing else.

An unknown call is an AttributeError, as it would be there. `FAKE_TENSORRT` in the environment chooses the version:
8.6 takes precision from builder flags and knows no STRONGLY_TYPED; 11 has neither those flags nor EXPLICIT_BATCH.
An "engine" is JSON; executing one multiplies the mean colour of each image by class numbers, through the addresses, and
leaves in `FAKE_MS` how long that took: less at a higher level, and for a static profile. `FAKE_FAULT` may be refuses,
dies or, at level 5 alone, wrong (other answers).
"""

import ctypes
import json
import os
import time
import weakref
from enum import Enum, IntEnum

import numpy as np

__version__ = os.environ.get("FAKE_TENSORRT", "8.6.0")
OLD = __version__.startswith("8.")
DataType = Enum("DataType", ["FLOAT", "HALF", "INT8", "INT32"])
TensorIOMode = Enum("TensorIOMode", ["INPUT", "OUTPUT"])
LayerInformationFormat = Enum("LayerInformationFormat", ["JSON"])
ProfilingVerbosity = Enum("ProfilingVerbosity", ["LAYER_NAMES_ONLY", "DETAILED"])
MemoryPoolType = Enum("MemoryPoolType", ["WORKSPACE"])
TensorFormat = IntEnum("TensorFormat", ["LINEAR", "HWC", "HWC8"], start=0)
CHANNELS = {"HWC": 3, "HWC8": 8}  # in memory, after the pixels
BuilderFlag = IntEnum("BuilderFlag", ["TF32", "FP16", "INT8"] if OLD else ["TF32"])
SOURCES = ["EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"]
TacticSource = IntEnum("TacticSource", ["CUBLAS", "CUBLAS_LT", "CUDNN", *SOURCES] if OLD else SOURCES, start=0)
if OLD:
    PreviewFeature = Enum("PreviewFeature", ["DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"])
NetworkDefinitionCreationFlag = IntEnum(
    "NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0} if OLD else {"STRONGLY_TYPED": 1}
)
WORDS = {  # how the inspector names a tensor's type
    "fp32": "Row major linear FP32" if OLD else "Float",
    "fp16": "Channel major FP16 format where channel % 8 == 0" if OLD else "Half",
    "int8": "Thirty-two wide channel vectorized row major Int8 format" if OLD else "Int8",
}
CONVOLUTIONS = 21
HIGHEST_LEVEL = 5


class Logger:
    WARNING = 1

    def __init__(self, level):
        self.level = level


class Tensor:
    def __init__(self, name, shape, dtype):
        self.name, self.shape, self.dtype = name, shape, dtype
        self.allowed_formats = 1 << TensorFormat.LINEAR


class Network:
    def __init__(self, flags):
        self.strongly_typed = not OLD and bool(flags & (1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED))

    def get_input(self, index):
        return self.inputs[index]

    def get_output(self, index):
        return self.outputs[index]


class OnnxParser:
    num_errors = 1

    def __init__(self, network, logger):
        self.network = network

    def get_error(self, index):
        return f"unsupported opset {self.opset}"

    def parse(self, content):
        import onnx

        model = onnx.load_from_string(content)
        self.opset = model.opset_import[0].version
        source, sink = model.graph.input[0], model.graph.output[0]
        kind = source.type.tensor_type
        dtype = DataType.HALF if kind.elem_type == onnx.TensorProto.FLOAT16 else DataType.FLOAT
        shape = tuple(axis.dim_value or -1 for axis in kind.shape.dim)
        classes = sink.type.tensor_type.shape.dim[1].dim_value
        self.network.inputs = [Tensor(source.name, shape, dtype)]
        self.network.outputs = [Tensor(sink.name, (-1, classes), dtype)]
        self.network.quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
        self.network.first = next(node.op_type for node in model.graph.node if source.name in node.input)
        return not OLD or self.opset <= 17


class Cache(bytes):
    def serialize(self):
        return bytes(self)


class Config:
    def __init__(self):
        self.flags, self.profiles = {"TF32"}, []
        self.avg_timing_iterations, self.sources, self.external = 1, None, not OLD

    def set_memory_pool_limit(self, pool, size):
        assert pool is MemoryPoolType.WORKSPACE

    def set_flag(self, flag):
        self.flags.add(flag.name)

    def clear_flag(self, flag):
        self.flags.discard(flag.name)

    def set_tactic_sources(self, bits):
        self.sources = [source.name for source in TacticSource if bits & (1 << source)]
        return True

    def set_preview_feature(self, feature, enable):
        assert feature is PreviewFeature.DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805
        self.external = not enable

    def add_optimization_profile(self, profile):
        self.profiles.append(profile.limits)

    def create_timing_cache(self, content):
        return Cache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        self.cache = cache
        return cache in (b"", b"cache of " + __version__.encode())

    def get_timing_cache(self):
        return Cache(b"cache of " + __version__.encode())


class Profile:
    def set_shape(self, name, smallest, best, largest):
        self.limits = [list(shape) for shape in (smallest, best, largest)]


class Builder:
    def __init__(self, logger):
        pass

    def create_network(self, flags):
        return Network(flags)

    def create_builder_config(self):
        return Config()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        time.sleep(float(os.environ.get("FAKE_BUILD_S", "0")))
        if os.environ.get("FAKE_FAULT") == "refuses":
            return None
        if os.environ.get("FAKE_FAULT") == "dies":
            os._exit(9)
        dtype = "int8" if network.quantized and (not OLD or "INT8" in config.flags) else "fp32"
        if dtype == "fp32" and ("FP16" in config.flags or network.inputs[0].dtype is DataType.HALF):
            dtype = "fp16" if network.strongly_typed or "FP16" in config.flags else "fp32"
        described = {
            "dtype": dtype,
            "tf32": "TF32" in config.flags,
            "verbosity": config.profiling_verbosity.name,
            "io": [[tensor.name, tensor.dtype.name, tensor.shape] for tensor in (*network.inputs, *network.outputs)],
            "profiles": config.profiles,
            "level": config.builder_optimization_level,
            "timing_iterations": config.avg_timing_iterations,
            "sources": config.sources,
            "external": config.external,
            "first": network.first,
            "format": next(known.name for known in TensorFormat if network.inputs[0].allowed_formats == 1 << known),
        }
        return json.dumps(described).encode()


class Runtime:
    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, content):
        return Engine(json.loads(content)) if content.startswith(b"{") else None


class Inspector:
    def __init__(self, built):
        self.built = built

    def get_engine_information(self, kind):
        layers = [self.describe(number) for number in range(CONVOLUTIONS)]
        if self.built["verbosity"] != "DETAILED":
            layers = [layer["Name"] for layer in layers]
        text = json.dumps({"Layers": layers, "Bindings": []})
        return text.replace("SEPARATOR", "\x1e") if OLD else text  # raw control characters, as 8.6 writes them

    def describe(self, number):
        tensors = [{"Name": "a tensor", "Dimensions": [1, 64, 56, 56], "Format/Datatype": WORDS[self.built["dtype"]]}]
        tf32 = "_tf32f32" if self.built["tf32"] and self.built["dtype"] == "fp32" else ""
        return {
            "Name": f"conv{number} SEPARATOR relu",
            "LayerType": "CaskConvolution",
            "Inputs": tensors,
            "Outputs": tensors,
            "ParameterType": "Convolution",
            "TacticName": f"sm80_xmma_fprop_implicit_gemm{tf32}_nhwc",
        }


class Engine:
    def __init__(self, built):
        self.built = built
        self.num_io_tensors, self.num_optimization_profiles = len(built["io"]), len(built["profiles"])
        setattr(self, "device_memory_size" if OLD else "device_memory_size_v2", 3_000_000)
        self.owners = weakref.WeakValueDictionary()  # context by profile: before 10, no two share one

    def get_tensor_name(self, index):
        return self.built["io"][index][0]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == self.built["io"][0][0] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return next(DataType[dtype] for other, dtype, _ in self.built["io"] if other == name)

    def get_tensor_profile_shape(self, name, profile_index):
        return self.built["profiles"][profile_index]

    def create_engine_inspector(self):
        return Inspector(self.built)

    def create_execution_context(self):
        return Context(self)


class Context:
    def __init__(self, engine):
        self.engine, self.addresses, self.shape, self.profile = engine, {}, None, None

    def set_optimization_profile_async(self, profile_index, stream_handle):
        if OLD and self.engine.owners.setdefault(profile_index, self) is not self:
            return False
        self.profile = self.engine.built["profiles"][profile_index]
        return True

    def set_input_shape(self, name, shape):
        self.shape = shape
        return self.profile[0][0] <= shape[0] <= self.profile[2][0] and list(shape[1:]) == self.profile[0][1:]

    def get_tensor_shape(self, name):
        (_, _, (_, classes)) = self.engine.built["io"][1]
        return (self.shape[0], classes)

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def read_images(self, address, dtype):
        channels = CHANNELS.get(self.engine.built.get("format"))
        if channels is None:
            return view(address, self.shape, dtype)
        count, kept, *size = self.shape
        pixels = view(address, (count, *size, channels), dtype)
        assert not pixels[..., kept:].any()
        return pixels[..., :kept].transpose(0, 3, 1, 2)

    def execute_async_v3(self, stream_handle):
        (source, kind, _), (sink, _, (_, classes)) = self.engine.built["io"]
        dtype = {"FLOAT": np.float32, "HALF": np.float16}[kind]
        images = self.read_images(self.addresses[source], dtype)
        logits = view(self.addresses[sink], (self.shape[0], classes), dtype)
        logits[:] = images.mean(axis=(1, 2, 3), dtype=np.float32)[:, None] * np.arange(classes)
        level = self.engine.built.get("level", 3)
        if os.environ.get("FAKE_FAULT") == "wrong" and level == HIGHEST_LEVEL:
            logits[:] = -logits
        smallest, _, largest = self.profile
        os.environ["FAKE_MS"] = str(len(images) * (0.008 if smallest == largest else 0.01) / (1 + level / 10))
        return True


def view(address, shape, dtype):
    """The memory at an address as an array."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_byte * count).from_address(address), dtype).reshape(shape)
