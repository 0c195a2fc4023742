//! What rdkafka 0.39 does not wrap: the member id of a group's metadata, and the cached end of a partition.

use std::ffi::{CStr, CString};

use rdkafka::{
    Offset,
    client::Client,
    consumer::{Consumer, ConsumerContext},
};
use rdkafka_sys::{
    rd_kafka_consumer_group_metadata, rd_kafka_consumer_group_metadata_destroy,
    rd_kafka_consumer_group_metadata_member_id, rd_kafka_get_watermark_offsets, rd_kafka_resp_err_t,
};

/// True where the consumer is a member of its group. An offset commit without member id would not be fenced.
pub(super) fn is_member<C: ConsumerContext>(consumer: &impl Consumer<C>) -> bool {
    let client: &Client<C> = consumer.client();
    // SAFETY: the client outlives the call; the metadata is ours, is read before it is destroyed, and is destroyed
    // once; the member id is a string of C that lives as long as the metadata.
    unsafe {
        let metadata = rd_kafka_consumer_group_metadata(client.native_ptr());
        if metadata.is_null() {
            return false;
        }
        let member = rd_kafka_consumer_group_metadata_member_id(metadata);
        let known = !member.is_null() && !CStr::from_ptr(member).to_bytes().is_empty();
        rd_kafka_consumer_group_metadata_destroy(metadata);
        known
    }
}

/// The high watermark of a partition as of the last answer to a fetch: no request is made.
pub(super) fn cached_high_watermark<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    topic: &str,
    partition: i32,
) -> Option<i64> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (0, 0);
    // SAFETY: the client and the string outlive the call, which writes to two numbers on our stack.
    let outcome = unsafe {
        rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    let known = outcome == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        && Offset::from_raw(high) != Offset::Invalid
        && high >= 0;
    known.then_some(high)
}
