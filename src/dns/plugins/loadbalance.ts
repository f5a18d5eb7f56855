/** `loadbalance`: another order of addresses for each client (D80). */
import { balance } from '../balance.ts';
import { whenDone, type Answer, type Stage } from '../stage.ts';
import { RCODE, rcodeOf } from '../wire/message.ts';

export function loadbalanceStage({ random }: { readonly random: () => number }): Stage {
  const mix = (answer: Answer): Answer => {
    if (rcodeOf(answer) !== RCODE.NOERROR) return answer;
    return {
      ...answer,
      answers: balance(answer.answers, random),
      authorities: balance(answer.authorities, random),
      additionals: balance(answer.additionals, random),
    };
  };
  return { name: 'loadbalance', answer: (ask, next) => whenDone(next(ask), mix) };
}
