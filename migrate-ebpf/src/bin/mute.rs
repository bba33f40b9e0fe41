//! Silences a container's network device: a pair of TC classifiers on it, and a mode that userspace sets.
//!
//! An object of its own, loaded once a container; it stays attached when the agent dies.
#![no_std]
#![no_main]

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::TcContext;
use migrate_common::maps::mute;

/// Index 0.
#[map]
static MUTE: Array<mute::State> = Array::with_max_entries(1, 0);

const ETHERNET_BYTES: usize = 14;
const ETHERTYPE_AT: usize = 12;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const IPV4_PROTOCOL_AT: usize = ETHERNET_BYTES + 9;
const IPV6_NEXT_HEADER_AT: usize = ETHERNET_BYTES + 6;
const IPV6_BYTES: usize = 40;
const IPPROTO_TCP: u8 = 6;
const TCP_FLAGS_AT: usize = 13;
const TCP_SYN: u8 = 0x02;
const TCP_ACK: u8 = 0x10;

#[classifier]
fn mute_ingress(ctx: TcContext) -> i32 {
    match mode() {
        mute::PASS => TC_ACT_OK,
        mute::NO_NEW_CONNECTIONS if !opens_connection(&ctx) => TC_ACT_OK,
        _ => TC_ACT_SHOT,
    }
}

#[classifier]
fn mute_egress(_ctx: TcContext) -> i32 {
    match mode() {
        mute::PASS | mute::NO_NEW_CONNECTIONS => TC_ACT_OK,
        _ => TC_ACT_SHOT,
    }
}

#[inline(always)]
fn mode() -> u32 {
    // SAFETY: a value of an array map, which lives as long as the program; userspace writes it at any time, hence volatile.
    MUTE.get(0).map_or(mute::SILENT, |state| unsafe { core::ptr::read_volatile(&raw const state.mode) })
}

/// Whether the packet is the first of a TCP connection. One that is too short to tell is none.
#[inline(always)]
fn opens_connection(ctx: &TcContext) -> bool {
    tcp_flags(ctx).is_some_and(|flags| flags & (TCP_SYN | TCP_ACK) == TCP_SYN)
}

#[inline(always)]
fn tcp_flags(ctx: &TcContext) -> Option<u8> {
    let tcp_at = match u16::from_be(ctx.load(ETHERTYPE_AT).ok()?) {
        ETHERTYPE_IPV4 if ctx.load::<u8>(IPV4_PROTOCOL_AT).ok()? == IPPROTO_TCP => {
            let ihl = ctx.load::<u8>(ETHERNET_BYTES).ok()? & 0x0f;
            ETHERNET_BYTES + usize::from(ihl) * 4
        }
        ETHERTYPE_IPV6 if ctx.load::<u8>(IPV6_NEXT_HEADER_AT).ok()? == IPPROTO_TCP => ETHERNET_BYTES + IPV6_BYTES,
        _ => return None,
    };
    ctx.load(tcp_at + TCP_FLAGS_AT).ok()
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
