"""Engine for NVIDIA machines: TensorRT, built from the same ONNX graphs and cached; fp32 or fp16.

Shapes are fixed. An engine file is specific to a model, TensorRT version, GPU and precision, all of which are part of
the key in its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sgrocc_core.engines.cache import cache_folder, key_of, load_or_make
from sgrocc_core.engines.model import ModelSpec, require_file
from sgrocc_core.engines.runtimes.graphs import GraphEngine
from sgrocc_core.errors import ModelError

WORKSPACE_BYTES = 1 << 30


class _Graph:
    """One built engine with its buffers on the GPU."""

    def __init__(self, runtime: Any, serialised: bytes, trt: Any, cudart: Any, path: Path) -> None:
        self._cudart, self._path = cudart, path
        self._engine = runtime.deserialize_cuda_engine(serialised)
        if self._engine is None:
            raise ModelError(f"TensorRT cannot load the engine built from {path}")
        self._context = self._engine.create_execution_context()
        self._stream = self._checked(cudart.cudaStreamCreate())
        self._buffers: dict[str, tuple[int, np.ndarray]] = {}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            host = np.empty(tuple(self._engine.get_tensor_shape(name)), trt.nptype(self._engine.get_tensor_dtype(name)))
            device = self._checked(cudart.cudaMalloc(host.nbytes))
            self._context.set_tensor_address(name, int(device))
            self._buffers[name] = (int(device), host)

    def _checked(self, result: tuple[Any, ...]) -> Any:
        status, *values = result
        if int(status) != 0:
            raise ModelError(f"CUDA error {status} while running {self._path.name}")
        return values[0] if values else None

    def run(self, outputs: tuple[str, ...], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Copy the inputs to the GPU, run, and copy the outputs back to new arrays."""
        kinds = self._cudart.cudaMemcpyKind
        for name, value in feed.items():
            if name not in self._buffers:  # TensorRT removes unused inputs (the base model's `gravity`)
                continue
            device, host = self._buffers[name]
            np.copyto(host, value, casting="same_kind")
            self._checked(
                self._cudart.cudaMemcpyAsync(
                    device, host.ctypes.data, host.nbytes, kinds.cudaMemcpyHostToDevice, self._stream
                )
            )
        if not self._context.execute_async_v3(int(self._stream)):
            raise ModelError(f"TensorRT failed to run {self._path.name}")
        for name in outputs:
            device, host = self._buffers[name]
            self._checked(
                self._cudart.cudaMemcpyAsync(
                    host.ctypes.data, device, host.nbytes, kinds.cudaMemcpyDeviceToHost, self._stream
                )
            )
        self._checked(self._cudart.cudaStreamSynchronize(self._stream))
        return [self._buffers[name][1].astype(np.float32, copy=True) for name in outputs]

    def close(self) -> None:
        """Free the GPU memory."""
        for device, _ in self._buffers.values():
            self._cudart.cudaFree(device)
        self._buffers.clear()


class TensorRTEngine(GraphEngine):
    """TensorRT engine; see `engine.Engine`.

    Attributes:
        from_cache: whether an engine was loaded instead of built.
    """

    def __init__(self, spec: ModelSpec, device: str = "auto", precision: str = "fp32", afresh: bool = False) -> None:
        """Load the engines from the cache, or build them. The first build takes minutes.

        Args:
            spec: description of the model.
            device: `cuda` or `auto`.
            precision: `fp32` or `fp16`.
            afresh: build even if there is a built engine.

        Raises:
            ModelError: TensorRT or cuda-python is not installed, there is no GPU, or TensorRT does not support a graph.
        """
        if device == "cpu":
            raise ModelError(
                "the tensorrt engine runs on a GPU only; use device cuda or auto, or the onnxruntime engine"
            )
        self.spec = spec
        self._trt, self._cudart = _import_tensorrt()
        status, count = self._cudart.cudaGetDeviceCount()
        if int(status) != 0 or count < 1:
            raise ModelError("the tensorrt engine finds no CUDA device; use the onnxruntime engine")
        status, properties = self._cudart.cudaGetDeviceProperties(0)
        self._gpu = properties.name.decode().strip() if int(status) == 0 else "GPU 0"
        self._logger = self._trt.Logger(self._trt.Logger.WARNING)
        self._runtime = self._trt.Runtime(self._logger)
        self._precision, self._afresh, self.from_cache = precision, afresh, False
        self._graphs: dict[str, _Graph] = {}
        try:
            for name in spec.graphs:
                self._graphs[name] = self._load(name)
        except BaseException:
            self.close()
            raise
        self.description = f"TensorRT {self._trt.__version__}, {self._gpu}, {precision}"

    def _load(self, name: str) -> _Graph:
        path = require_file(self.spec, name)
        files = [f"{file} {self.spec.files[file]}" for file in sorted(self.spec.files)]
        key = key_of(*files, self._trt.__version__, self._gpu, self._precision)

        def load(serialised: bytes) -> _Graph:
            return _Graph(self._runtime, serialised, self._trt, self._cudart, path)

        def build() -> tuple[_Graph, bytes]:
            serialised = self._build(path, self._precision)
            return load(serialised), serialised

        kept = cache_folder("tensorrt") / f"{path.stem}-{key}.engine"
        graph, loaded = load_or_make(kept, load, build, self._afresh)
        self.from_cache = self.from_cache or loaded
        return graph

    def _build(self, path: Path, precision: str) -> bytes:
        trt = self._trt
        builder = trt.Builder(self._logger)
        explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)  # TensorRT 10 knows nothing else
        network = builder.create_network(0 if explicit is None else 1 << int(explicit))
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse_from_file(str(path)):
            reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise ModelError(f"TensorRT {trt.__version__} does not take {path}: {reasons}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
        # Geometry is computed in matrix products, for which TensorFloat-32 has too few digits.
        config.clear_flag(trt.BuilderFlag.TF32)
        if precision == "fp16":
            config.set_flag(trt.BuilderFlag.FP16)
            self._keep_geometry_single(network, config)
        serialised = builder.build_serialized_network(network, config)
        if serialised is None:
            raise ModelError(f"TensorRT {trt.__version__} cannot build an engine from {path}")
        return bytes(serialised)

    def _keep_geometry_single(self, network: Any, config: Any) -> None:
        """Restrict half precision to convolutions: other layers compute pixels and metres."""
        trt = self._trt
        config.set_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
        for index in range(network.num_layers):
            layer = network.get_layer(index)
            single = layer.num_outputs > 0 and layer.get_output(0).dtype == trt.float32
            if single and layer.type not in (trt.LayerType.CONVOLUTION, trt.LayerType.CONSTANT):
                layer.precision = trt.float32

    def _run(self, graph: str, outputs: tuple[str, ...], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        return self._graphs[graph].run(outputs, feed)

    def close(self) -> None:
        """Free the GPU memory."""
        for graph in self._graphs.values():
            graph.close()


def _import_tensorrt() -> tuple[Any, Any]:
    hint = "install it, or use engine onnxruntime"
    try:
        import tensorrt
    except Exception as error:  # a library that cannot be loaded raises an OSError or a class of its own
        raise ModelError(f"the tensorrt engine needs the Python package tensorrt ({error}); {hint}") from error
    try:
        try:
            from cuda.bindings import runtime as cudart
        except ImportError:
            from cuda import cudart  # cuda-python before 12.6
    except Exception as error:
        raise ModelError(f"the tensorrt engine needs the Python package cuda-python ({error}); {hint}") from error
    return tensorrt, cudart
