// The kernel's VFIO and IOMMUFD interface, as much of it as is used. Written down here because distributions ship
// <linux/vfio.h> without the calls of newer kernels; a test compares it with that header where it is installed.
#ifndef PEREGRINE_DRIVERS_UAPI_H
#define PEREGRINE_DRIVERS_UAPI_H

#include <assert.h>
#include <stdint.h>

#define PGD_IO(number) (0x3Bul << 8 | (number))  // both interfaces have the type ';', and name no size

// VFIO: type 1 container and group
#define PGD_VFIO_API_VERSION 0
#define PGD_VFIO_TYPE1V2_IOMMU 3
#define PGD_VFIO_GET_API_VERSION PGD_IO(100u)
#define PGD_VFIO_CHECK_EXTENSION PGD_IO(101u)
#define PGD_VFIO_SET_IOMMU PGD_IO(102u)
#define PGD_VFIO_GROUP_GET_STATUS PGD_IO(103u)
#define PGD_VFIO_GROUP_SET_CONTAINER PGD_IO(104u)
#define PGD_VFIO_GROUP_UNSET_CONTAINER PGD_IO(105u)
#define PGD_VFIO_GROUP_GET_DEVICE_FD PGD_IO(106u)
#define PGD_VFIO_DEVICE_GET_INFO PGD_IO(107u)
#define PGD_VFIO_DEVICE_GET_REGION_INFO PGD_IO(108u)
#define PGD_VFIO_DEVICE_GET_IRQ_INFO PGD_IO(109u)
#define PGD_VFIO_DEVICE_SET_IRQS PGD_IO(110u)
#define PGD_VFIO_DEVICE_RESET PGD_IO(111u)
#define PGD_VFIO_IOMMU_GET_INFO PGD_IO(112u)
#define PGD_VFIO_IOMMU_MAP_DMA PGD_IO(113u)
#define PGD_VFIO_IOMMU_UNMAP_DMA PGD_IO(114u)
// VFIO: the device's own file, kernel 6.6 on
#define PGD_VFIO_DEVICE_BIND_IOMMUFD PGD_IO(118u)
#define PGD_VFIO_DEVICE_ATTACH_IOMMUFD_PT PGD_IO(119u)
// IOMMUFD, kernel 6.2 on
#define PGD_IOMMU_IOAS_ALLOC PGD_IO(0x81u)
#define PGD_IOMMU_IOAS_IOVA_RANGES PGD_IO(0x84u)
#define PGD_IOMMU_IOAS_MAP PGD_IO(0x85u)
#define PGD_IOMMU_IOAS_UNMAP PGD_IO(0x86u)

#define PGD_GROUP_VIABLE 1u
#define PGD_DEVICE_RESETS 1u
#define PGD_DEVICE_PCI 2u
#define PGD_REGION_READ 1u
#define PGD_REGION_WRITE 2u
#define PGD_REGION_MMAP 4u
#define PGD_REGION_BAR0 0u
#define PGD_REGION_BAR2 2u
#define PGD_REGION_CONFIG 7u
#define PGD_IRQ_MSIX 2u
#define PGD_IRQ_EVENTFD 1u
#define PGD_IRQ_SET_NONE 1u     // SET_IRQS flags: no data
#define PGD_IRQ_SET_EVENTFD 4u  // eventfds follow
#define PGD_IRQ_SET_TRIGGER 32u
#define PGD_DMA_READ 1u
#define PGD_DMA_WRITE 2u
#define PGD_IOMMU_INFO_CAPS 2u
#define PGD_IOMMU_CAP_RANGES 1u
#define PGD_IOAS_FIXED 1u
#define PGD_IOAS_WRITE 2u
#define PGD_IOAS_READ 4u

#define PGD_PCI_COMMAND 4u  // configuration space, 16 bits
#define PGD_PCI_COMMAND_MEMORY 2u
#define PGD_PCI_COMMAND_MASTER 4u

struct pgd_group_status { uint32_t argsz, flags; };
struct pgd_device_info { uint32_t argsz, flags, num_regions, num_irqs, cap_offset, pad; };
struct pgd_region_info { uint32_t argsz, flags, index, cap_offset; uint64_t size, offset; };
struct pgd_irq_info { uint32_t argsz, flags, index, count; };
struct pgd_irq_set { uint32_t argsz, flags, index, start, count; int32_t fd; };  // one eventfd
struct pgd_iommu_info { uint32_t argsz, flags; uint64_t pgsizes; uint32_t cap_offset, pad; };
struct pgd_cap_header { uint16_t id, version; uint32_t next; };
struct pgd_iova_range { uint64_t start, last; };  // last is in it
struct pgd_cap_ranges { struct pgd_cap_header header; uint32_t count, reserved; struct pgd_iova_range range[]; };
struct pgd_dma_map { uint32_t argsz, flags; uint64_t vaddr, iova, size; };
struct pgd_dma_unmap { uint32_t argsz, flags; uint64_t iova, size; };
struct pgd_bind_iommufd { uint32_t argsz, flags; int32_t iommufd; uint32_t out_devid; };
struct pgd_attach_pt { uint32_t argsz, flags, pt_id; };
struct pgd_ioas_alloc { uint32_t size, flags, out_ioas_id; };
struct pgd_ioas_ranges { uint32_t size, ioas_id, num_iovas, reserved; uint64_t allowed_iovas, out_iova_alignment; };
struct pgd_ioas_map { uint32_t size, flags, ioas_id, reserved; uint64_t user_va, length, iova; };
struct pgd_ioas_unmap { uint32_t size, ioas_id; uint64_t iova, length; };

static_assert(sizeof(struct pgd_region_info) == 32 && sizeof(struct pgd_dma_map) == 32, "kernel layout");
static_assert(sizeof(struct pgd_irq_set) == 24 && sizeof(struct pgd_ioas_map) == 40, "kernel layout");
static_assert(sizeof(struct pgd_ioas_ranges) == 32 && sizeof(struct pgd_bind_iommufd) == 16, "kernel layout");

#endif
