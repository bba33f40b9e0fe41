use super::*;

const IP: u64 = 0x5555_0040_1000;
/// In its reach.
const ELSEWHERE: u64 = 0x5555_0050_0000;

/// Code with the place at [`IP`] behind a few instructions.
fn text(code: &[u8]) -> Text {
    let mut bytes = vec![0x90; 16];
    bytes.extend(code);
    bytes.extend([0x90; 16]);
    Text::new(IP - 16, bytes)
}

#[test]
fn as_many_instructions_are_displaced_as_a_jump_covers() {
    // add rax, rbx; imul rax, rcx
    let displaced = text(&[0x48, 0x01, 0xd8, 0x48, 0x0f, 0xaf, 0xc1]).displace(IP).unwrap();
    assert_eq!((displaced.ip, displaced.bytes.len()), (IP, 7));
    // mov [rsp-8], rax
    assert_eq!(text(&[0x48, 0x89, 0x44, 0x24, 0xf8]).displace(IP).unwrap().bytes.len(), 5);
}

#[test]
fn what_tells_its_own_address_stays() {
    let calls: [&[u8]; 7] = [
        &[0xe8, 0, 0, 0, 0],
        &[0xff, 0xd0, 0x90, 0x90, 0x90],
        // syscall, int3, ud2, fld st1, and one behind another instruction
        &[0x0f, 0x05, 0x90, 0x90, 0x90],
        &[0xcc, 0x90, 0x90, 0x90, 0x90],
        &[0x0f, 0x0b, 0x90, 0x90, 0x90],
        &[0xd9, 0xc1, 0x90, 0x90, 0x90],
        &[0x90, 0x90, 0xe8, 0, 0, 0, 0],
    ];
    for code in calls {
        assert!(matches!(text(code).displace(IP), Err(Refusal::Bound(_))), "{code:x?}");
    }
    // rep movsb: an interrupt comes inside. Behind another it runs as a whole.
    assert_eq!(text(&[0xf3, 0xa4, 0x90, 0x90, 0x90]).displace(IP).unwrap_err(), Refusal::Bound(IP));
    assert!(text(&[0x90, 0x90, 0x90, 0xf3, 0xa4]).displace(IP).is_ok());
}

#[test]
fn bytes_behind_a_jump_or_a_return_belong_to_others() {
    assert_eq!(text(&[0xeb, 0x7f, 0x90, 0x90, 0x90]).displace(IP).unwrap_err(), Refusal::Bound(IP + 2));
    assert_eq!(text(&[0xc3, 0x90, 0x90, 0x90, 0x90]).displace(IP).unwrap_err(), Refusal::Bound(IP + 1));
    assert!(text(&[0x90, 0x90, 0x90, 0xeb, 0x7f]).displace(IP).is_ok());
}

#[test]
fn a_branch_between_the_instructions_refuses_and_one_to_the_first_does_not() {
    // add rax, rbx; dec rcx; jne there
    let behind = |by: u8| text(&[0x48, 0x01, 0xd8, 0x48, 0xff, 0xc9, 0x75, by]);
    assert!(behind(0xf8).displace(IP).is_ok());
    assert_eq!(behind(0xfb).displace(IP).unwrap_err(), Refusal::Entered(IP));
    // From far away, by a near call.
    let mut far = vec![0x90; 3000];
    far.extend([0xe8, 0, 0, 0, 0]);
    let by = -(far.len() as i32) + 3;
    far[3001..3005].copy_from_slice(&by.to_le_bytes());
    assert_eq!(text(&far).displace(IP).unwrap_err(), Refusal::Entered(IP));
    // One of the instructions itself.
    assert_eq!(text(&[0x48, 0x01, 0xd8, 0x75, 0xfc]).displace(IP).unwrap_err(), Refusal::Entered(IP));
}

#[test]
fn near_an_indirect_jump_only_one_instruction_is_displaced() {
    let with = |mut code: Vec<u8>, jump: &[u8]| {
        code.extend(jump);
        text(&code).displace(IP).err()
    };
    let (short, long) = (vec![0x90; 5], vec![0x48, 0x89, 0x44, 0x24, 0xf8]);
    // jmp rax; jmp [rax+rbx*8]; jmp [rip+0x100], which leads to another function
    assert_eq!(with(short.clone(), &[0xff, 0xe0]), Some(Refusal::MayBeEntered(IP)));
    assert_eq!(with(short.clone(), &[0xff, 0x24, 0xd8]), Some(Refusal::MayBeEntered(IP)));
    assert_eq!(with(short, &[0xff, 0x25, 0, 1, 0, 0]), None);
    assert_eq!(with(long, &[0xff, 0xe0]), None);
}

#[test]
fn displaced_instructions_refer_to_what_they_referred_to() {
    // lea rax, [rip+0x100]; jne the place
    let displaced = text(&[0x48, 0x8d, 0x05, 0, 1, 0, 0]).displace(IP).unwrap();
    let relocated = displaced.relocate(ELSEWHERE).unwrap();
    let mut decoder = Decoder::with_ip(64, &relocated.code, ELSEWHERE, DecoderOptions::NONE);
    assert_eq!(decoder.decode().memory_displacement64(), IP + 7 + 0x100);
    assert_eq!(decoder.decode().near_branch_target(), IP + 7);
    assert_eq!(relocated.places, [(0, IP), (7, IP + 7)]);
    assert_eq!(displaced.relocate(1 << 40).unwrap_err(), Refusal::OutOfReach(IP, 1 << 40));
}

#[test]
fn a_branch_back_to_the_place_leads_into_the_program() {
    // add rax, rbx; jne the place
    let relocated = text(&[0x48, 0x01, 0xd8, 0x75, 0xfb]).displace(IP).unwrap().relocate(ELSEWHERE).unwrap();
    let mut decoder = Decoder::with_ip(64, &relocated.code, ELSEWHERE, DecoderOptions::NONE);
    assert_eq!(decoder.decode().len(), 3);
    assert_eq!(decoder.decode().near_branch_target(), IP);
}

#[test]
fn a_place_near_is_found_on_both_ways_of_a_branch() {
    // je +7; call; mov [rsp-8], rax, of which the jump covers the last
    let code = [0x74, 0x07, 0xff, 0xd0, 0x48, 0x89, 0x44, 0x24, 0xf8, 0x48, 0x89, 0x44, 0x24, 0xf0];
    let text = text(&code);
    assert_eq!(text.near(IP), [IP + 9]);
    assert_eq!(text.near(IP + 4), [IP + 4]);
    // dec rcx; jne back, in the middle of what a jump would cover: the code behind it is near
    let looping = self::text(&[0x90, 0x48, 0xff, 0xc9, 0x75, 0xfb, 0x48, 0x89, 0x44, 0x24, 0xf8]);
    assert!(looping.displace(IP).is_err());
    assert_eq!(looping.near(IP), [IP + 1]);
}
