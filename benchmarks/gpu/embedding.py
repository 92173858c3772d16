"""From tars to vectors on one GPU, beside the model alone."""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from tars import make_tars, records, until
from vit import Shape, random_model

from spark_imgdedup.kernels.images import decode_image
from spark_imgdedup.models import EncoderSettings
from spark_imgdedup.models.on_device.encoder import DeviceEncoder
from spark_imgdedup.models.on_device.fixed_shape import FixedShape, cuda_graph
from spark_imgdedup.models.on_device.streams import Streams
from spark_imgdedup.models.on_device.transforms import ImageTransform
from spark_imgdedup.models.preprocess import Fit, to_array
from spark_imgdedup.models.stream import PixelWork, StreamSettings, embed_stream
from spark_imgdedup.models.torch_encoder import TorchParts
from spark_imgdedup.preprocess import Preprocess

# OpenAI's CLIP.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MAX_PIXELS = 10**8


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    shape: Shape
    precision: str = "bf16"
    batch_size: int = 256
    n_images: int = 1024
    round_s: float = 4.0  # of reading the tars, over and over
    picture: tuple[int, int] = (640, 480)
    n_tars: int = 8
    rounds: int = 3


FULL = Sizes(Shape())
SMOKE = Sizes(Shape(2, 64, 4, 14, 28, 16), "fp32", 4, 12, 0.05, (96, 72), 2, 1)


class Embedding:
    """The model, its encoder and the pictures."""

    def __init__(self, device, sizes, folder, n_threads):
        self.device, self.sizes, self.n_threads = torch.device(device), sizes, n_threads
        shape, dtype = sizes.shape, DTYPES[sizes.precision]
        self.model = random_model(shape, self.device, dtype)
        self.encoder = self.new_encoder()
        self.paths, self.mean_bytes = make_tars(folder, sizes.n_images, sizes.n_tars, sizes.picture, n_threads)

    def new_encoder(self):
        """As open_clip's loader makes it."""
        size = self.sizes.shape.size
        transform = ImageTransform(Fit(size, size, squash=False, interpolation="bicubic"), MEAN, STD)
        parts = TorchParts(self.model, transform=None, dim=self.sizes.shape.dim, crops=True, fingerprint="random")
        return DeviceEncoder(
            EncoderSettings("random ViT-L/14", device=str(self.device), precision=self.sizes.precision),
            parts,
            transform,
        )

    def synchronize(self):
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def model_alone(self, *, captured=True):
        """Images per second of the model on a batch that is there already."""
        sizes, streams = self.sizes, Streams(str(self.device))
        runs = max(1, 4096 // sizes.batch_size) if self.device.type == "cuda" else 1
        shape = (sizes.batch_size, 3, sizes.shape.size, sizes.shape.size)
        with torch.inference_mode(), streams.computing():
            pixels = torch.randn(shape, device=self.device, dtype=DTYPES[sizes.precision])
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            fixed = FixedShape(self.model, pixels, cuda_graph if captured and streams.is_cuda else None)
            fixed.run()
            rates = []
            for _ in range(sizes.rounds):
                self.synchronize()
                start = time.perf_counter()
                for _ in range(runs):
                    fixed.run()
                self.synchronize()
                rates.append(runs * sizes.batch_size / (time.perf_counter() - start))
        return statistics.median(rates)

    def stream(self, **work):
        """Images per second from tars to vectors, and what threads of this process took of the processor an image."""
        sizes = self.sizes
        settings = StreamSettings(sizes.batch_size, self.n_threads, MAX_PIXELS)
        work = PixelWork(encoder=self.encoder, **work)
        warm = itertools.islice(records(self.paths, forever=True), 3 * sizes.batch_size)
        assert sum(map(len, embed_stream(warm, work, settings))) == 3 * sizes.batch_size
        rates, milliseconds = [], []
        for _ in range(sizes.rounds):
            gc.collect()
            start, busy = time.perf_counter(), time.process_time()
            images = until(records(self.paths, forever=True), start + sizes.round_s)
            n = 0
            for batch in embed_stream(images, work, settings):
                assert all(row.vector is not None for row in batch)
                n += len(batch)
            rates.append(n / (time.perf_counter() - start))
            milliseconds.append(1e3 * (time.process_time() - busy) / n)
        return {"images_per_s": statistics.median(rates), "core_ms_per_image": statistics.median(milliseconds)}

    def vectors(self, n_images, **work):
        """(n, dim), by the stream."""
        settings = StreamSettings(self.sizes.batch_size, self.n_threads, MAX_PIXELS)
        some = itertools.islice(records(self.paths), n_images)
        rows = [row for batch in embed_stream(some, PixelWork(encoder=self.encoder, **work), settings) for row in batch]
        return np.stack([row.vector for row in rows])

    def reference(self, n_images):
        """(n, dim) of the same model on pictures that the CPU has resized and scaled, of unit length."""
        how = Preprocess(size=self.sizes.shape.size, mean=MEAN, std=STD)
        files = [record.data for record in itertools.islice(records(self.paths), n_images)]
        arrays = [to_array(decode_image(data, max_pixels=MAX_PIXELS).image, how) for data in files]
        found = []
        with torch.inference_mode():
            for start in range(0, n_images, self.sizes.batch_size):
                batch = torch.from_numpy(np.stack(arrays[start : start + self.sizes.batch_size]))
                found.append(self.model(batch.to(self.device, DTYPES[self.sizes.precision])).float().cpu().numpy())
        vectors = np.concatenate(found)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def out_of_memory(self):
        """Vectors while the GPU has room for a part of a batch only: the sizes that were tried, and their agreement."""
        n, expected = self.sizes.batch_size, self.vectors(self.sizes.batch_size)
        kept, self.encoder = self.encoder, self.new_encoder()
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(self.device).total_memory
        room = torch.cuda.memory_reserved(self.device) + 2**30
        torch.cuda.set_per_process_memory_fraction(room / total, self.device)
        try:
            found = self.vectors(n)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, self.device)
            sizes, self.encoder = sorted(self.encoder._by_size), kept
        return {"batch_size": n, "size_that_fits": sizes[0], "min_cosine": min_cosine(found, expected)}


def min_cosine(a, b):
    return float((a.astype(np.float64) * b).sum(axis=1).min())


def measure(device, sizes, folder, n_threads, report):
    """Tell `report` of each figure as it is there."""
    made = Embedding(device, sizes, folder, n_threads)
    report("pictures", {"mean_bytes": made.mean_bytes, "size": sizes.picture, "distinct": sizes.n_images})
    n = min(64, sizes.n_images)
    expected = made.reference(n)
    report("min_cosine_to_the_cpu_s_resize", min_cosine(made.vectors(n), expected))
    alone = made.model_alone()
    report("model_alone", {"images_per_s": alone, "tflops": 1e-12 * alone * sizes.shape.flop})
    report("model_without_graph", {"images_per_s": made.model_alone(captured=False)})
    default = {"pixel_digest": True, "trim_borders": True}  # of a model that is not the embedded one
    works = {"stream": default, "stream_of_vectors_alone": {}}
    if find_spec("scipy") is not None:
        works["stream_with_hashes"] = {**default, "phash_bits": 64, "phash_views": "mirror"}
    if find_spec("torchvision") is not None:
        works["stream_decoded_on_the_device"] = {"decodes_later": True}
        report("min_cosine_of_its_decoding", min_cosine(made.vectors(n, decodes_later=True), expected))
    for name, work in works.items():
        found = made.stream(**work)
        report(name, {**found, "of_model_alone": found["images_per_s"] / alone})
    if made.device.type == "cuda":
        report("out_of_memory", made.out_of_memory())
