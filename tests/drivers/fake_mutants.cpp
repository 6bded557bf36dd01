// The wrong calls that the fake must notice, each as one change of a right one: in the group way unless it says iommufd.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "fake_kernel.h"

namespace fake {
namespace {

template <class T>
T& as(void* a) { return *static_cast<T*>(a); }

#define CHANGE(type, statement) [](void* a) { auto& v = as<type>(a); statement; }
#define REGISTER(offset) "write32 " offset

const std::vector<Mutant> kMutants = {
    {"open without O_CLOEXEC", "open", 0, false, CHANGE(OpenArguments, v.flags = O_RDWR)},
    {"open read-only", "open", 1, false, CHANGE(OpenArguments, v.flags = O_RDONLY | O_CLOEXEC)},
    {"extension checked before the version", "get_api_version", 0, true, nullptr},
    {"extension not checked", "check_extension", 0, true, nullptr},
    {"group status not asked", "group_get_status", 0, true, nullptr},
    {"group status with a wrong size", "group_get_status", 0, false, CHANGE(pgd_group_status, v.argsz -= 4)},
    {"group not put into the container", "group_set_container", 0, true, nullptr},
    {"group put into no container", "group_set_container", 0, false, CHANGE(int, v = 99)},
    {"IOMMU not set", "set_iommu", 0, true, nullptr},
    {"device of another name", "group_get_device_fd", 0, false, CHANGE(char, v = '1')},
    {"device info with a wrong size", "device_get_info", 0, false, CHANGE(pgd_device_info, v.argsz = 4)},
    {"no reset", "device_reset", 0, true, nullptr},
    {"region of no such index", "get_region_info", 0, false, CHANGE(pgd_region_info, v.index = 5)},
    {"region info with a wrong size", "get_region_info", 1, false, CHANGE(pgd_region_info, v.argsz = 16)},
    {"window of another region", "get_region_info", 1, false, CHANGE(pgd_region_info, v.index = 7)},
    {"command register not read", "pread", 0, false, CHANGE(TransferArguments, v.offset += 2)},
    {"command register of 4 bytes", "pwrite", 0, false, CHANGE(TransferArguments, v.bytes = 4)},
    {"bus master forgotten", "pwrite", 0, false, CHANGE(TransferArguments, v.value &= ~std::uint64_t{PGD_PCI_COMMAND_MASTER})},
    {"memory space forgotten", "pwrite", 0, false, CHANGE(TransferArguments, v.value &= ~std::uint64_t{PGD_PCI_COMMAND_MEMORY})},
    {"command register not written", "pwrite", 0, true, nullptr},
    {"bus master left on", "pwrite", 1, true, nullptr},
    {"window mapped at another offset", "mmap", 0, false, CHANGE(MmapArguments, v.offset += 4096)},
    {"window mapped private", "mmap", 0, false, CHANGE(MmapArguments, v.flags = MAP_PRIVATE)},
    {"window mapped read-only", "mmap", 0, false, CHANGE(MmapArguments, v.protection = PROT_READ)},
    {"half a window mapped", "mmap", 1, false, CHANGE(MmapArguments, v.bytes = 2048)},
    {"memory shared with children", "mmap", 2, false, CHANGE(MmapArguments, v.flags = MAP_SHARED | MAP_ANONYMOUS)},
    {"memory not locked", "mlock", 0, true, nullptr},
    {"half the memory locked", "mlock", 0, false, CHANGE(RangeArguments, v.bytes /= 2)},
    {"IOVA not on a page", "map_dma", 0, false, CHANGE(pgd_dma_map, v.iova += 64)},
    {"memory not on a page", "map_dma", 0, false, CHANGE(pgd_dma_map, v.vaddr += 64)},
    {"memory of half a page", "map_dma", 0, false, CHANGE(pgd_dma_map, v.size -= 2048)},
    {"IOVA in the interrupt window", "map_dma", 0, false, CHANGE(pgd_dma_map, v.iova = 0xFEE00000)},
    {"IOVA beyond the device", "map_dma", 0, false, CHANGE(pgd_dma_map, v.iova = 1ull << 62)},
    {"memory that the device may not write", "map_dma", 0, false, CHANGE(pgd_dma_map, v.flags = PGD_DMA_READ)},
    {"memory that the device may not read", "map_dma", 0, false, CHANGE(pgd_dma_map, v.flags = PGD_DMA_WRITE)},
    {"map with a wrong size", "map_dma", 0, false, CHANGE(pgd_dma_map, v.argsz += 8)},
    {"memory mapped elsewhere", "map_dma", 0, false, CHANGE(pgd_dma_map, v.iova += 1u << 20)},
    {"memory not mapped for the device", "map_dma", 0, true, nullptr},
    {"memory not taken from the device", "unmap_dma", 0, true, nullptr},
    {"half the memory taken from it", "unmap_dma", 0, false, CHANGE(pgd_dma_unmap, v.size -= 4096)},
    {"unmap with a wrong size", "unmap_dma", 0, false, CHANGE(pgd_dma_unmap, v.argsz = 8)},
    {"eventfd that blocks", "eventfd", 0, false, CHANGE(OpenArguments, v.flags = EFD_CLOEXEC)},
    {"interrupt of another kind", "set_irqs", 0, false, CHANGE(pgd_irq_set, v.index = 1)},
    {"two vectors with one eventfd", "set_irqs", 0, false, CHANGE(pgd_irq_set, v.count = 2)},
    {"interrupt masked instead of bound", "set_irqs", 0, false, CHANGE(pgd_irq_set, v.flags = PGD_IRQ_SET_EVENTFD | 8u)},
    {"interrupt bound to no eventfd", "set_irqs", 0, false, CHANGE(pgd_irq_set, v.fd = 0)},
    {"interrupt not bound", "set_irqs", 0, true, nullptr},
    {"interrupt left bound", "set_irqs", 1, true, nullptr},
    {"a window left mapped", "munmap", 1, true, nullptr},
    {"memory left mapped", "munmap", 0, true, nullptr},
    {"munmap of half", "munmap", 2, false, CHANGE(RangeArguments, v.bytes = 2048)},
    {"a file left open", "close", 0, true, nullptr},
    {"the last file left open", "close", 3, true, nullptr},
    {"group left in the container", "group_unset_container", 0, true, nullptr},
    {"device never reset by its register", REGISTER("36"), 0, false, CHANGE(TransferArguments, v.value = 1)},
    {"device never enabled", REGISTER("36"), 1, true, nullptr},
    {"interrupts never enabled", REGISTER("36"), 1, false, CHANGE(TransferArguments, v.value = 1)},
    {"device not stopped", REGISTER("36"), 2, true, nullptr},
    {"epoch not written", REGISTER("44"), 0, true, nullptr},
    {"completion base not written", REGISTER("160"), 0, true, nullptr},
    {"completion base not on a line", REGISTER("160"), 0, false, CHANGE(TransferArguments, v.value += 16)},
    {"completion ring of another size", REGISTER("168"), 0, false, CHANGE(TransferArguments, v.value += 1)},
    {"consumer never told", REGISTER("176"), -1, true, nullptr},
    {"consumer told too much", REGISTER("176"), 1, false, CHANGE(TransferArguments, v.value += 9)},
    {"bank not selected", REGISTER("64"), 0, false, CHANGE(TransferArguments, v.value = 1)},
    {"a word of the image lost", REGISTER("68"), 7, true, nullptr},
    {"a bit of the image flipped", REGISTER("68"), 40, false, CHANGE(TransferArguments, v.value ^= 1u << 20)},
    {"version not sent", REGISTER("80"), 0, true, nullptr},
    {"expected CRC not sent", REGISTER("88"), 0, true, nullptr},
    {"expected words not sent", REGISTER("92"), 0, true, nullptr},
    {"swap to another bank", REGISTER("96"), 0, false, CHANGE(TransferArguments, v.value ^= 1)},
    {"a register off by two", REGISTER("44"), 0, false, CHANGE(TransferArguments, v.offset += 2)},
    {"a read-only register written", REGISTER("44"), 0, false, CHANGE(TransferArguments, v.offset = PGD_REG_ID)},
    {"arm lost", REGISTER("180"), 0, true, nullptr},
    {"cancel with another tag", REGISTER("192"), 0, false, CHANGE(TransferArguments, v.value += 1)},
    {"half a cancel", REGISTER("196"), 0, true, nullptr},
    {"a store of a line lost", "write64", 3, true, nullptr},
    {"a line in another slot", "write64", 0, false, CHANGE(TransferArguments, v.offset += 512)},
    {"a line beyond the slots", "write64", 0, false, CHANGE(TransferArguments, v.offset = 8 * 512)},
    {"a commit word that is not the tag's", "write64", 7, false, CHANGE(TransferArguments, v.value ^= 1ull << 32)},
    {"a tag of another epoch", "write64", 0, false, CHANGE(TransferArguments, v.value += 1ull << 32)},
    {"inputs beyond the count", "write64", 6, false, CHANGE(TransferArguments, v.value |= 1ull << 60)},
    {"iommufd: not bound", "bind_iommufd", 0, true, nullptr},
    {"iommufd: bound to another file", "bind_iommufd", 0, false, CHANGE(pgd_bind_iommufd, v.iommufd = 0)},
    {"iommufd: bind with flags", "bind_iommufd", 0, false, CHANGE(pgd_bind_iommufd, v.flags = 1)},
    {"iommufd: no address space", "ioas_alloc", 0, true, nullptr},
    {"iommufd: not attached", "attach_pt", 0, true, nullptr},
    {"iommufd: attached to another space", "attach_pt", 0, false, CHANGE(pgd_attach_pt, v.pt_id += 1)},
    {"iommufd: ranges of another space", "ioas_iova_ranges", 0, false, CHANGE(pgd_ioas_ranges, v.ioas_id += 1)},
    {"iommufd: the kernel chooses the address", "map_dma", 0, false, CHANGE(pgd_ioas_map, v.flags &= ~PGD_IOAS_FIXED)},
    {"iommufd: memory that the device may not write", "map_dma", 0, false, CHANGE(pgd_ioas_map, v.flags &= ~PGD_IOAS_WRITE)},
    {"iommufd: address not on a page", "map_dma", 0, false, CHANGE(pgd_ioas_map, v.iova += 1)},
    {"iommufd: memory not taken from the device", "unmap_dma", 0, true, nullptr},
    {"iommufd: a file left open", "close", 2, true, nullptr},
};

}  // namespace

const std::vector<Mutant>& mutants() { return kMutants; }

}  // namespace fake
