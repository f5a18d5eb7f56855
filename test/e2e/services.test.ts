import { testServices } from './services-suite.ts';

testServices(['ipv4', 'ipv6']);
