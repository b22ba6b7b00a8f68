package transport

import (
	"context"
	"errors"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// peerConnection carries messages over one link after the other. Followers say
// nothing to each other until there is an election; a link that ended meanwhile,
// since the other side was restarted, would cost that election a vote: dragonboat
// learns of it by an error, drops the message, and sends no other for up to 1.25 s.
type peerConnection struct {
	link   *link
	parent context.Context
}

var _ raftio.IConnection = (*peerConnection)(nil)

// Close implements raftio.IConnection.
func (c *peerConnection) Close() { c.link.Close() }

// SendMessageBatch implements raftio.IConnection. If the link has ended it connects
// again, once, and sends the batch by the new one: what arrives twice does no harm.
func (c *peerConnection) SendMessageBatch(batch raftpb.MessageBatch) error {
	lost := c.link.SendMessageBatch(batch)
	if lost == nil || c.parent.Err() != nil {
		return lost
	}
	c.link.Close()
	link, err := c.link.transport.connect(c.parent, c.link.target, messageKind)
	if err != nil {
		return errors.Join(lost, err)
	}
	c.link = link
	c.link.transport.metrics.reconnects.Inc()
	return link.SendMessageBatch(batch)
}
