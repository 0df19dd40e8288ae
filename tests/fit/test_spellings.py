"""Machines as people write them: which cards, how many, how much memory, which processor, how fast."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.errors import InvalidArgument
from qwill.fit.machines import GIB, SYSTEM_BYTES, named_machine, names

# Spelling: cards (count x name), GiB of RAM (what nobody said is left out).
CARDS: dict[str, tuple[str, float | None]] = {
    "2x4090 + 128GB": ("2 RTX 4090", 128),
    "8x A100 SXM4 80GB": ("8 A100 80GB", None),
    "4090": ("1 RTX 4090", None),
    "rtx4090": ("1 RTX 4090", None),
    "RTX 4090 24GB": ("1 RTX 4090", None),
    "NVIDIA GeForce RTX 4090": ("1 RTX 4090", None),
    "GeForce-RTX-4090": ("1 RTX 4090", None),
    "1x 4090": ("1 RTX 4090", None),
    "RTX 4090 48GB": ("1 RTX 4090 48GB", None),
    "3090 Ti": ("1 RTX 3090 Ti", None),
    "3090ti": ("1 RTX 3090 Ti", None),
    "dual 3090": ("2 RTX 3090", None),
    "Dual RTX 3090s": ("2 RTX 3090", None),
    "two 3090": ("2 RTX 3090", None),
    "2 3090s": ("2 RTX 3090", None),
    "3090 x2 + 64GB": ("2 RTX 3090", 64),
    "RTX3090x4": ("4 RTX 3090", None),
    "quad 3090 + 256 GB": ("4 RTX 3090", 256),
    "4x3090": ("4 RTX 3090", None),
    "4×RTX 3090, 256GB RAM": ("4 RTX 3090", 256),
    "RTX 3090 24 GB GDDR6X": ("1 RTX 3090", None),
    "4090 with 64GB RAM": ("1 RTX 4090", 64),
    "4090 and 64 GiB": ("1 RTX 4090", 64),
    "RTX 4090 24GB 64GB RAM": ("1 RTX 4090", 64),
    "RTX 4090 (24GB) + 64G": ("1 RTX 4090", 64),
    "4090 + 3090 + 128GB": ("1 RTX 4090, 1 RTX 3090", 128),
    "5090 + 64gb ddr5": ("1 RTX 5090", 64),
    "RTX 5090 32GB": ("1 RTX 5090", None),
    "RTX 5080": ("1 RTX 5080", None),
    "5070ti": ("1 RTX 5070 Ti", None),
    "rtx 5070": ("1 RTX 5070", None),
    "RTX 5060 Ti": ("1 RTX 5060 Ti 16GB", None),
    "RTX 5060 Ti 8GB": ("1 RTX 5060 Ti 8GB", None),
    "2x 5060 Ti 16GB": ("2 RTX 5060 Ti 16GB", None),
    "RTX 5060": ("1 RTX 5060", None),
    "5050": ("1 RTX 5050", None),
    "GeForce RTX 5090 Laptop GPU 24GB": ("1 RTX 5090 Laptop", None),
    "5080 mobile": ("1 RTX 5080 Laptop", None),
    "RTX 4070 Laptop + 32GB": ("1 RTX 4070 Laptop", 32),
    "3060 laptop": ("1 RTX 3060 Laptop", None),
    "4080 super": ("1 RTX 4080 Super", None),
    "RTX 4070 Ti SUPER 16GB": ("1 RTX 4070 Ti Super", None),
    "4070Ti": ("1 RTX 4070 Ti", None),
    "4070 SUPER": ("1 RTX 4070 Super", None),
    "4060ti 16gb": ("1 RTX 4060 Ti 16GB", None),
    "4060ti 8gb": ("1 RTX 4060 Ti 8GB", None),
    "4060": ("1 RTX 4060", None),
    "3080": ("1 RTX 3080 10GB", None),
    "3080 12GB": ("1 RTX 3080 12GB", None),
    "3060 12GB": ("1 RTX 3060", None),
    "3060 8gb": ("1 RTX 3060 8GB", None),
    "RTX 2080 Ti": ("1 RTX 2080 Ti", None),
    "2080 ti 22gb": ("1 RTX 2080 Ti 22GB", None),
    "2060": ("1 RTX 2060 6GB", None),
    "2070 Super": ("1 RTX 2070 Super", None),
    "gtx1660super": ("1 GTX 1660 Super", None),
    "GTX 1080 Ti": ("1 GTX 1080 Ti", None),
    "1070": ("1 GTX 1070", None),
    "GTX 1060 6GB": ("1 GTX 1060", None),
    "Titan RTX": ("1 Titan RTX", None),
    "A6000": ("1 RTX A6000", None),
    "2x RTX A6000 48GB": ("2 RTX A6000", None),
    "RTX 6000 Ada": ("1 RTX 6000 Ada", None),
    "NVIDIA RTX 6000 Ada Generation": ("1 RTX 6000 Ada", None),
    "RTX 6000": ("1 RTX 6000 Ada", None),
    "RTX 6000 24GB": ("1 Quadro RTX 6000", None),
    "Quadro RTX 8000": ("1 Quadro RTX 8000", None),
    "PRO 6000": ("1 RTX PRO 6000", None),
    "RTX PRO 6000 Blackwell 96GB": ("1 RTX PRO 6000", None),
    "RTX 6000 Pro": ("1 RTX PRO 6000", None),
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": ("1 RTX PRO 6000", None),
    "RTX PRO 6000 Max-Q": ("1 RTX PRO 6000 Max-Q", None),
    "4x RTX PRO 6000 Blackwell Server Edition": ("4 RTX PRO 6000 Server", None),
    "RTX A4000": ("1 RTX A4000", None),
    "A5000": ("1 RTX A5000", None),
    "P40": ("1 P40", None),
    "2x Tesla P40 24GB + 128GB DDR4": ("2 P40", 128),
    "P100 16GB": ("1 P100", None),
    "V100": ("1 V100 16GB", None),
    "Tesla V100-SXM2-32GB": ("1 V100 32GB", None),
    "V100 PCIe 32GB": ("1 V100 PCIe 32GB", None),
    "T4": ("1 T4", None),
    "Tesla T4 16GB": ("1 T4", None),
    "L4": ("1 L4", None),
    "4x L4 24GB": ("4 L4", None),
    "L40S 48GB": ("1 L40S", None),
    "A10": ("1 A10", None),
    "A10G": ("1 A10G", None),
    "A100": ("1 A100 80GB", None),
    "A100 40GB": ("1 A100 40GB", None),
    "A100-PCIE-40GB": ("1 A100 40GB", None),
    "A100 80GB PCIe": ("1 A100 80GB PCIe", None),
    "NVIDIA A100-SXM4-80GB": ("1 A100 80GB", None),
    "H100": ("1 H100 80GB", None),
    "h100 sxm5 80gb": ("1 H100 80GB", None),
    "H100 80GB HBM3": ("1 H100 80GB", None),
    "H100 PCIe": ("1 H100 PCIe", None),
    "H100 94GB": ("1 H100 NVL", None),
    "five 3090s": ("5 RTX 3090", None),
    "2x H100 NVL 94GB": ("2 H100 NVL", None),
    "8xH200 141GB": ("8 H200", None),
    "8x B200": ("8 B200", None),
    "GH200": ("1 GH200 96GB", 480),
    "Grace Hopper": ("1 GH200 96GB", 480),
    "MI300X": ("1 MI300X", None),
    "8x AMD Instinct MI325X": ("8 MI325X", None),
    "MI210 64GB": ("1 MI210", None),
    "4x MI50 32GB + 256GB": ("4 MI50 32GB", 256),
    "7900 XTX": ("1 RX 7900 XTX", None),
    "AMD Radeon RX 7900XTX 24GB": ("1 RX 7900 XTX", None),
    "rx7900xt": ("1 RX 7900 XT", None),
    "RX 7800 XT": ("1 RX 7800 XT", None),
    "RX 7600": ("1 RX 7600", None),
    "9070XT": ("1 RX 9070 XT", None),
    "2x Radeon AI PRO R9700": ("2 Radeon AI PRO R9700", None),
    "6800 xt": ("1 RX 6800 XT", None),
    "RX 6900 XT 16GB": ("1 RX 6900 XT", None),
    "W7900": ("1 Radeon PRO W7900", None),
    "B580": ("1 Arc B580", None),
    "Intel Arc B580 12GB": ("1 Arc B580", None),
    "A770": ("1 Arc A770", None),
    "Arc A770 8GB": ("1 Arc A770 8GB", None),
    "2x Arc Pro B60": ("2 Arc Pro B60", None),
    "2xRTX3090,128gb ddr4 3600": ("2 RTX 3090", 128),
    "2x 3090 nvlink": ("2 RTX 3090", None),
    "ASUS RTX 5090 FE": ("1 RTX 5090", None),
    "RTX 4090 48G modded": ("1 RTX 4090 48GB", None),
    "2 RTX 3090": ("2 RTX 3090", None),
    "4 A100 80GB": ("4 A100 80GB", None),
    "RTX 3090/RTX 3060": ("1 RTX 3090, 1 RTX 3060", None),
    "RTX 3090 / 3060": ("1 RTX 3090, 1 RTX 3060", None),
    "RTX 4090 | 64GB": ("1 RTX 4090", 64),
    "RTX 4090 plus 64 gigs of RAM": ("1 RTX 4090", 64),
    "RTX 3090,1,5TB RAM": ("1 RTX 3090", 1536),
    "gaming laptop RTX 4060 + 16GB": ("1 RTX 4060 Laptop", 16),
    "Colab T4": ("1 T4", None),
    "RTX 3050 6GB": ("1 RTX 3050 6GB", None),
    "Quadro RTX 4000": ("1 Quadro RTX 4000", None),
    "RTX 4000 SFF Ada": ("1 RTX 4000 SFF Ada", None),
    "8x B300": ("8 B300", None),
    "RX Vega 64": ("1 RX Vega 64", None),
    "RTX 4050 6GB": ("1 RTX 4050 Laptop", None),
    "AWS g5.xlarge": ("1 A10G", 16),
    "p5.48xlarge": ("8 H100 80GB", 2048),
    "DGX H100": ("8 H100 80GB", 2048),
}

# Spelling: name and GiB of the one memory.
UNIFIED = {
    "Mac Studio M3 Ultra 512GB": ("M3 Ultra", 512),
    "MacBook Pro M4 Max 64GB": ("M4 Max", 64),
    "MacBook Pro 16GB M2 Pro": ("M2 Pro", 16),
    "M2 Pro 16GB": ("M2 Pro", 16),
    "Mac mini M4 16G": ("M4", 16),
    "macbook air m1 8gb": ("M1", 8),
    "Apple M2 Ultra": ("M2 Ultra", 192),
    "iMac M3": ("M3", 24),
    "16-inch MacBook Pro M3 Max 128GB": ("M3 Max", 128),
    'MacBook Pro 14" M4 Pro 24GB': ("M4 Pro", 24),
    "MacBook Pro 16 M4 Max 64GB": ("M4 Max", 64),
    "Mac Pro M2 Ultra": ("M2 Ultra", 192),
    "Asus Ascent GX10": ("DGX Spark", 128),
    "M5": ("M5", 32),
    "m5 pro 48gb": ("M5 Pro", 48),
    "M5 Max 128GB": ("M5 Max", 128),
    "M4 Max 40-core GPU 128GB": ("M4 Max", 128),
    "M4 Max 36GB": ("M4 Max 32-core", 36),
    "M5 Max 14-core 36GB": ("M5 Max 32-core", 36),
    "M4 Max 32-core 36GB": ("M4 Max 32-core", 36),
    "M3 Max 30-core GPU 96GB": ("M3 Max 30-core", 96),
    "DGX Spark": ("DGX Spark", 128),
    "NVIDIA GB10 128GB": ("DGX Spark", 128),
    "Jetson AGX Orin 64GB": ("Jetson AGX Orin", 64),
    "AGX Orin 32GB": ("Jetson AGX Orin", 32),
    "Jetson Orin Nano": ("Jetson Orin Nano", 8),
    "jetson thor": ("Jetson AGX Thor", 128),
}

# Spelling: processor, cores, GiB, GB/s of the modules (published, or channels x 8 bytes x MT/s).
PROCESSORS = {
    "i9-13900K 64GB DDR5-5600": ("Core 13900K", 24, 64, 89.6),
    "Intel Core i9-13900KF 2x32GB DDR5 6000MHz": ("Core 13900K", 24, 64, 96),
    "Core i7-12700K": ("Core 12700K", 12, 32, 76.8),
    "i5 12400F 32GB DDR4": ("Core 12400", 6, 32, 51.2),
    "core ultra 9 285K 96GB": ("Core Ultra 285K", 24, 96, 102.4),
    "Ultra 7 155H": ("Core Ultra 7 155H", 6, 32, 119.5),
    "Ryzen 7950X + 64GB": ("Ryzen 9 7950X", 16, 64, 83.2),
    "AMD Ryzen 9 7950X 16-Core Processor": ("Ryzen 9 7950X", 16, 64, 83.2),
    "ryzen 9 9950x3d 128gb": ("Ryzen 9950X3D", 16, 128, 89.6),
    "5800X3D 32GB": ("Ryzen 5800X3D", 8, 32, 51.2),
    "5800X 32GB": ("Ryzen 7 5800X", 8, 32, 51.2),
    "Ryzen 5 7600": ("Ryzen 7600", 6, 64, 83.2),
    "Ryzen 7 5700G 64G": ("Ryzen 5700G", 8, 64, 51.2),
    "Ryzen AI 9 HX 370": ("Ryzen AI 9 HX 370", 12, 32, 120),
    "Ryzen AI Max+ 395 128GB": ("Ryzen AI Max 395", 16, 128, 256),
    "Ryzen AI Max+ 395": ("Ryzen AI Max 395", 16, 128, 256),
    "ryzen ai max 395 64gb": ("Ryzen AI Max 395", 16, 64, 256),
    "AMD Ryzen AI Max+ PRO 395 w/ Radeon 8060S": ("Ryzen AI Max 395", 16, 128, 256),
    "Ryzen AI Max+ 395 (Strix Halo) 128GB": ("Ryzen AI Max 395", 16, 128, 256),
    "Strix Halo 96GB": ("Ryzen AI Max 395", 16, 96, 256),
    "EPYC 9654 12ch 768GB": ("EPYC 9654", 96, 768, 460.8),
    "2 Xeon E5-2690 v4": ("Xeon E5-2690 v4", 28, 256, 153.6),
    "EPYC 9654P 8 channels": ("EPYC 9654", 96, 768, 307.2),
    "2x EPYC 9654 1.5TB": ("EPYC 9654", 192, 1536, 921.6),
    "dual EPYC 7763 + 1TB RAM": ("EPYC 7763", 128, 1024, 409.6),
    "EPYC 7402P": ("EPYC 7402", 24, 256, 204.8),
    "AMD EPYC Rome 7742 8-channel DDR4-2933 512GB": ("EPYC 7742", 64, 512, 187.7),
    "EPYC 9575F": ("EPYC 9575F", 64, 768, 614.4),
    "EPYC Genoa 12-channel DDR5-4800 384GB": ("EPYC 9004", 64, 384, 460.8),
    "EPYC 7002 8ch 256GB": ("EPYC 7002", 32, 256, 204.8),
    "AMD EPYC Genoa 9654": ("EPYC 9654", 96, 768, 460.8),
    "Threadripper 7000 256GB": ("Threadripper 7000", 32, 256, 166.4),
    "Threadripper PRO 7000 series": ("Threadripper PRO 7000", 32, 512, 332.8),
    "Ryzen 7000 64GB DDR5-6000": ("Ryzen 7000", 8, 64, 96),
    "Xeon Sapphire Rapids 8ch": ("Xeon Scalable 4", 48, 512, 307.2),
    "dual Xeon E5 v4 256GB": ("Xeon E5 v4", 28, 256, 153.6),
    "EPYC 7601": ("EPYC 7601", 32, 256, 170.7),
    "EPYC 8534P": ("EPYC 8534P", 64, 192, 230.4),
    "Threadripper 7970X 256GB": ("Threadripper 7970X", 32, 256, 166.4),
    "AMD Ryzen Threadripper 3960X": ("Threadripper 3960X", 24, 128, 102.4),
    "TR 3970X": ("Threadripper 3970X", 32, 128, 102.4),
    "Threadripper PRO 7995WX 512GB": ("Threadripper PRO 7995WX", 96, 512, 332.8),
    "threadripper pro 5975wx": ("Threadripper PRO 5975WX", 32, 256, 204.8),
    "Threadripper 9980X": ("Threadripper 9980X", 64, 256, 204.8),
    "Threadripper PRO 9995WX": ("Threadripper PRO 9995WX", 96, 512, 409.6),
    "2x Xeon E5-2690 v4 + 256GB": ("Xeon E5-2690 v4", 28, 256, 153.6),
    "Xeon E5-2699v3": ("Xeon E5-2699 v3", 18, 64, 68.3),
    "Xeon Gold 6230 192GB": ("Xeon 6230", 20, 192, 140.8),
    "Xeon Platinum 8480+ + 512GB": ("Xeon 8480", 56, 512, 307.2),
    "Xeon 6980P": ("Xeon 6980P", 128, 768, 614.4),
    "w9-3495X": ("Xeon W9-3495X", 56, 256, 307.2),
    "Raspberry Pi 5 16GB": ("Raspberry Pi 5", 4, 16, 17.07),
    "Intel N100 16GB": ("Intel N100", 4, 16, 38.4),
    "Core i3-N305": ("Intel N305", 8, 16, 38.4),
    "Intel Core i7-1165G7 16GB": ("Core 1165G7", 4, 16, 68.3),
    "i7-1360P": ("Core 1360P", 12, 16, 83.2),
    "i5-8250U 8GB": ("Core 8250U", 4, 8, 38.4),
    "Ryzen 7 5700U 16GB": ("Ryzen 5700U", 8, 16, 51.2),
    "Steam Deck": ("Steam Deck", 4, 16, 88),
    "Raspberry Pi 4 8GB": ("Raspberry Pi 4", 4, 8, 12.8),
    "Snapdragon X Plus": ("Snapdragon X Plus", 10, 16, 135.2),
    "GMKtec EVO-X2 128GB": ("Ryzen AI Max 395", 16, 128, 256),
    "HP ZBook Ultra G1a 64GB": ("Ryzen AI Max 395", 16, 64, 256),
    "2x Xeon Silver 4214 256GB": ("Xeon 4214", 24, 256, 230.4),
    "Xeon Silver 4314": ("Xeon 4314", 16, 256, 170.6),
    "Xeon W-2295": ("Xeon W-2295", 18, 128, 93.9),
    "AWS Graviton4": ("Graviton 4", 96, 384, 537.6),
    "Ampere Altra Max M128-30": ("Ampere Altra M128-30", 128, 256, 204.8),
    "64GB RAM": ("desktop", 16, 64, 76.8),
    "64 GB DDR5 6000 MT/s": ("desktop", 16, 64, 96),
    "64GB DDR4-3200 dual channel": ("desktop", 16, 64, 51.2),
    "4 x 32GB DDR4-2666 quad channel": ("desktop", 16, 128, 85.3),
    "laptop 32GB LPDDR5X-7467": ("laptop", 8, 32, 119.5),
}


def test_enough_is_tried() -> None:
    assert len(CARDS) + len(UNIFIED) + len(PROCESSORS) >= 120


@pytest.mark.parametrize("text", CARDS)
@pytest.mark.parametrize("change", [str, str.lower, str.upper])
def test_cards(text: str, change: "type[str]") -> None:
    cards, ram = CARDS[text]
    machine = named_machine(change(text))
    told = [card.strip().partition(" ") for card in cards.split(",")]
    assert [gpu.name for gpu in machine.gpus] == [name for count, _, name in told for _ in range(int(count))]
    assert machine.host is not None
    assert machine.host.memory_bytes == (0 if ram is None else ram * GIB - SYSTEM_BYTES)


@pytest.mark.parametrize("text", UNIFIED)
def test_one_memory_for_all(text: str) -> None:
    name, memory = UNIFIED[text]
    machine = named_machine(text)
    assert [(gpu.name, gpu.memory_bytes) for gpu in machine.gpus] == [(name, memory * GIB - SYSTEM_BYTES)]
    assert machine.host is None


@pytest.mark.parametrize("text", PROCESSORS)
def test_processors(text: str) -> None:
    name, cores, memory, rate = PROCESSORS[text]
    host = named_machine(text).host
    assert host is not None
    assert (host.name, host.cores, host.memory_bytes) == (name, cores, memory * GIB - SYSTEM_BYTES)
    assert host.bandwidth / 1e9 == pytest.approx(0.8 * rate, rel=1e-3)


def test_a_card_beside_a_processor() -> None:
    machine = named_machine("RTX 3090 (24GB) + Ryzen 9 5950X + 128GB DDR4-3600 + 2TB NVMe 7GB/s")
    assert [gpu.name for gpu in machine.gpus] == ["RTX 3090"]
    assert machine.host is not None
    assert (machine.host.name, machine.host.memory_bytes) == ("Ryzen 5950X", 128 * GIB - SYSTEM_BYTES)
    assert machine.host.bandwidth == pytest.approx(0.8 * 2 * 8 * 3.6e9)
    assert (machine.disk_bandwidth, machine.disk_free) == (7e9, 2048 * GIB)


@pytest.mark.parametrize(
    "text",
    [
        "24GB VRAM at 936GB/s + 64GB RAM at 80GB/s + 7GB/s disk",
        "7 GB/s NVMe, 64 GiB RAM @ 80 GB/s, 24GiB VRAM @ 0.936 TB/s",
        "VRAM: 24 GB 936 GB/s; RAM: 64 GB 80 GB/s; SSD: 7000 MB/s",
        "80GB/s 64GB memory and 936 GB per second 24gb video memory with disk at 7gb/s",
        "24 GB of VRAM with 936 GB/s bandwidth, 64 GB of RAM with 80 GB/s bandwidth, 7GB/s disk",
        "24 GB GPU at 936 gigabytes per second, CPU 64 gigs 80GBps, 7GBps disk",
        "64GB DDR5 at 80GB/s + 24GB GDDR6X at 936GB/s + 7GB/s SSD",
    ],
)
def test_any_machine_by_numbers(text: str) -> None:
    machine = named_machine(text)
    assert [(gpu.memory_bytes, gpu.bandwidth, gpu.unified) for gpu in machine.gpus] == [(24 * GIB, 936e9, False)]
    assert machine.host is not None
    assert (machine.host.memory_bytes, machine.host.bandwidth) == (64 * GIB - SYSTEM_BYTES, 80e9)
    assert machine.disk_bandwidth == 7e9


def test_numbers_of_several_cards_and_of_one_memory() -> None:
    two = named_machine("2x 48GiB VRAM at 1,008 GiB/s 300 TFLOPS + 1TB RAM")
    assert [(gpu.memory_bytes, gpu.bandwidth, gpu.bf16) for gpu in two.gpus] == [(48 * GIB, 1008 * GIB, 300e12)] * 2
    assert two.host is not None
    assert two.host.memory_bytes == 1024 * GIB - SYSTEM_BYTES
    one = named_machine("128GB unified memory at 273GB/s")
    assert [(gpu.memory_bytes, gpu.bandwidth, gpu.unified) for gpu in one.gpus] == [(124 * GIB, 273e9, True)]
    assert one.host is None


def test_numbers_beside_a_name_are_taken_as_they_are() -> None:
    assert named_machine("M4 Max 128GB at 500GB/s").gpus[0].bandwidth == 500e9
    assert named_machine("RTX 4090 at 1.1TB/s").gpus[0].bandwidth == 1.1e12
    host = named_machine("EPYC 9654 + 384GB RAM at 400GB/s").host
    assert host is not None
    assert host.bandwidth == 400e9


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("RTX 9090", "near it: .*RTX 5090"),
        ("RTX 4090 super", "near it: .*RTX 4080 Super"),
        ("EPYC 9656", "near it: .*EPYC 965"),
        ("ryzen 7951x", "near it: .*Ryzen 9 7950X"),
        ("M9 Ultra", "near it: .*M3 Ultra"),
        ("nothing such", "64GB RAM, and any machine by numbers: 24GB VRAM at 936GB/s .* 7GB/s disk$"),
        ("16GB RAM + 2TB SATA SSD", "how fast is '2TB SATA SSD' read"),
        ("16GB RAM + HDD", "how fast is 'HDD' read"),
        ("24GB VRAM", "how fast is it read"),
        ("24GB VRAM at 0GB/s", "how fast is it read"),
        ("0GB RAM", "is not known"),
        ("9" * 400 + "GB RAM", "is not known"),
        ("4090 + " * 100, "700 characters are too many"),
        ("Ryzen 7950X + i9-13900K", "two kinds of processors"),
        ("DGX Spark + 64GB RAM", "the memory of DGX Spark is one for all"),
    ],
)
def test_what_is_not_understood_is_answered_with_what_is_near(text: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says) as raised:
        named_machine(text)
    assert "\n" not in str(raised.value)


def complaint(text: str) -> str:
    """Of a name that is not understood; nothing of one that is."""
    try:
        assert named_machine(text).memory_bytes >= 0
    except InvalidArgument as error:
        return str(error)
    return ""


WORDS = [*names()[::7], *CARDS, "2x", "24GB", "VRAM", "at", "80GB/s", "+", "DDR5", "8ch", "-1", "/s", "unified", "disk"]


@given(st.lists(st.sampled_from(WORDS)).map(" ".join) | st.text(string.printable) | st.text())
def test_whatever_is_written_is_a_machine_or_a_mistake(text: str) -> None:
    assert re.match(
        "$|(?s:.*)(is not known|how fast|kinds of processors|one for all|too many|leave it out|of one machine)",
        complaint(text),
    )
